"""How well measurements of whole networks agree with themselves: no prediction can be expected to agree better."""

import statistics
from collections.abc import Sequence

from profilers.measurement import Measurement

MAX_QUIET_PERCENT = 3.0
"""At load 8 on 2 cores the floor was 14 %, and a fitted scale three times too large."""
TOO_BUSY = "not stored: the machine was too busy to believe it"
"""What becomes of a fit to measurements that are not quiet."""


def noise_floor_percent(measurements: Sequence[Measurement]) -> float:
    """Mean difference between the medians of every network's even and odd samples, in percent."""
    differences = []
    for measurement in measurements:
        even_ms = statistics.median(measurement.samples_ms[::2])
        odd_ms = statistics.median(measurement.samples_ms[1::2])
        differences.append(abs(even_ms / odd_ms - 1))
    return 100 * statistics.fmean(differences)


def is_quiet(floor_percent: float) -> bool:
    """Whether the machine was quiet enough for what is fitted to the measurements to be believed and stored."""
    return floor_percent <= MAX_QUIET_PERCENT
