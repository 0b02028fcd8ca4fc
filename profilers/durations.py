"""Durations as people type them."""

import re

from search_space.errors import UsageError


def duration_s_of(text: str) -> float:
    """Reads 90s, 10m or 1.5h.

    Raises:
        UsageError: It is none of these, or nothing.
    """
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smh])", text)
    if match is None or float(match[1]) == 0:
        raise UsageError(f"the duration {text!r} was given", allowed="a number and s, m or h: 90s, 10m, 1.5h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]
