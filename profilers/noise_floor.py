"""How well measurements of whole networks agree with themselves, which a prediction of them has to be judged beside.

The noise floor compares halves of the samples. The median of all of them is known about twice as well, so a good table
can agree with it better than the floor; how well at best, a table without error says.
"""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

import numpy

from profilers.agreement import Agreement, agreement
from profilers.measurement import Measurement

MAX_QUIET_PERCENT = 3.0
"""At load 8 on 2 cores the floor was 14 %, and a fitted scale three times too large."""
TOO_BUSY = "not stored: the machine was too busy to believe it"
"""What becomes of a fit to measurements that are not quiet."""
_NUM_DRAWS = 200  # of the bootstrap: the mean Spearman is then known to a thousandth


def noise_floor_percent(measurements: Sequence[Measurement]) -> float:
    """Mean difference between the medians of every network's even and odd samples, in percent."""
    differences = []
    for measurement in measurements:
        even_ms = statistics.median(measurement.samples_ms[::2])
        odd_ms = statistics.median(measurement.samples_ms[1::2])
        differences.append(abs(even_ms / odd_ms - 1))
    return 100 * statistics.fmean(differences)


def agreement_within_noise(measurements: Sequence[Measurement]) -> Agreement:
    """How a table without any error would agree with networks that are measured no better than these.

    The mean over bootstrap draws of every network's samples, which are taken to be independent: what slows a whole
    process comes on top.
    """
    medians_ms = [measurement.median_ms for measurement in measurements]
    draws_ms = [measurement.resampled_medians_ms() for measurement in measurements]
    shuffled_ms = numpy.random.default_rng(0).permuted(draws_ms, axis=1)  # else equal draws meet in all networks
    agreements = [agreement("a table without error", medians_ms, drawn_ms) for drawn_ms in shuffled_ms.T[:_NUM_DRAWS]]
    names = [field.name for field in dataclasses.fields(Agreement) if field.name != "name"]
    means: dict[str, Any] = {name: statistics.fmean(getattr(each, name) for each in agreements) for name in names}
    return dataclasses.replace(agreements[0], **means)


def is_quiet(floor_percent: float) -> bool:
    """Whether the machine was quiet enough for what is fitted to the measurements to be believed and stored."""
    return floor_percent <= MAX_QUIET_PERCENT
