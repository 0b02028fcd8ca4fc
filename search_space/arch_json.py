"""Reads an architecture from JSON that nobody vouches for.

The schema is the dataclasses of `arch.py` themselves, checked by pydantic in strict mode: unknown keys, missing keys,
numbers in strings, NaN and deep nesting are all refused with the place where they stand.
"""

import dataclasses
import difflib
import functools
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from search_space.arch import ArchConfig
from search_space.errors import UsageError


def arch_from_json(text: str | bytes) -> ArchConfig:
    """An architecture from its JSON.

    Raises:
        UsageError: The text is not JSON, a key is missing or unknown, or a value is not allowed.
    """
    try:
        return _adapter().validate_json(text)
    except ValidationError as error:
        raise _usage_error(error.errors(include_url=False)[0]) from None


def read_arch_file(path: Path) -> ArchConfig:
    """An architecture from a file of its JSON.

    Raises:
        UsageError: The file cannot be read, or `arch_from_json` refuses its text.
    """
    try:
        return arch_from_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", fix="check the path") from None


@functools.cache
def _adapter() -> TypeAdapter[ArchConfig]:
    return TypeAdapter(ArchConfig)


def _usage_error(problem: Any) -> UsageError:
    place = ".".join(str(part) for part in problem["loc"]) or "the document"
    allowed = "the keys and types of `python -m search_space.describe sd15 --config`"
    if problem["type"] == "value_error" and isinstance(problem["ctx"]["error"], UsageError):
        return UsageError(f"architecture JSON, {place}: {problem['ctx']['error']}")
    if problem["type"] == "unexpected_keyword_argument":
        known = _field_names()
        nearest = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        allowed = f"did you mean {nearest[0]!r}?" if nearest else ", ".join(known)
        return UsageError(f"architecture JSON has the unknown key {place}", allowed=allowed)
    return UsageError(f"architecture JSON, {place}: {problem['msg']}", allowed=allowed)


def _field_names() -> list[str]:

    from search_space import arch

    classes = [item for item in vars(arch).values() if isinstance(item, type) and dataclasses.is_dataclass(item)]
    return sorted({field.name for kind in classes for field in dataclasses.fields(kind)})
