"""What a latency is here: a list of samples, from which everything else is derived.

The middle is the median: the minimum of a block under-predicts a network's sum by 10-14 %, and one stray run moves the
mean. How sure we are of it is a bootstrap confidence interval: draw the samples again with replacement, take the median
of every draw, keep the middle 95 %. The draws come from a fixed seed, so equal samples always give equal intervals.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy

STABLE_HALF_WIDTH = 0.01  # of the median: a measurement is finished when its interval is no wider than +-1 %
NUM_RESAMPLES = 1000
MIN_STEADY_SAMPLES = 5  # fewer say too little about their own spread to stand alone
MAX_ELASTICITY = 5.0  # the steepest that was seen is 3
MIN_MS, MAX_MS = 1e-9, 1e9
"""What a stranger's milliseconds may be, of a block or of the sentinel: none is then corrected to 0 or to infinity."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One timed loop of one block, as it was taken."""

    raw_ms: float
    """Milliseconds of one run: the loop's time by its number of runs."""
    num_runs: int
    """How many runs the loop had; enough for it to last a millisecond."""
    drift: float
    """How slow the machine was around it, against the device's first campaign; 1 is as fast as then."""
    round_index: int
    """The round of its campaign."""
    position: int
    """Its place in the round's random order."""
    taken_at: float
    """Seconds since 1970."""
    is_flagged: bool
    """Whether the machine's speed moved by more than 3 % within the campaign's round."""
    elasticity: float = 1.0
    """By what power of the drift it is divided; see `profilers.elasticity`."""
    common_slowness: float = 1.0
    """How much slower everything around it was than the drift says; see `profilers.common_mode`."""

    @property
    def corrected_ms(self) -> float:
        return self.raw_ms / math.pow(self.drift, self.elasticity) / self.common_slowness


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The latency of one block or one network on one device."""

    samples_ms: tuple[float, ...]
    """Milliseconds of one run each, already divided by the machine's drift, in the order they were taken."""

    def __post_init__(self) -> None:
        if not self.samples_ms:
            raise ValueError("a measurement needs at least one sample")
        if not all(math.isfinite(sample) and sample > 0 for sample in self.samples_ms):
            raise ValueError(f"samples have to be finite and above zero, got {self.samples_ms}")

    @property
    def median_ms(self) -> float:
        return float(numpy.median(self.samples_ms))

    def confidence_interval_ms(self, level: float = 0.95) -> tuple[float, float]:
        """The bootstrap interval of the median, low and high. A single sample gives an interval without width."""
        low_ms, high_ms = numpy.quantile(self.resampled_medians_ms(), ((1 - level) / 2, (1 + level) / 2))
        return float(low_ms), float(high_ms)

    def resampled_medians_ms(self) -> numpy.ndarray:
        """The median of every bootstrap draw: `[NUM_RESAMPLES]`."""
        samples_ms = numpy.asarray(self.samples_ms)
        medians_ms: numpy.ndarray = numpy.median(samples_ms[_resampled_indices(len(samples_ms))], axis=1)
        return medians_ms

    @property
    def relative_half_width(self) -> float:
        """Half the width of the 95 % interval, as a share of the median."""
        low_ms, high_ms = self.confidence_interval_ms()
        return (high_ms - low_ms) / 2 / self.median_ms

    @property
    def is_stable(self) -> bool:
        """Whether the median is known to +-1 %. One sample is never stable: it says nothing about the spread."""
        return len(self.samples_ms) > 1 and self.relative_half_width <= STABLE_HALF_WIDTH


def measurement_of(samples: Sequence[Sample]) -> Measurement:
    """The measurement that samples make, drift divided out.

    Those from unsteady rounds are left out if that makes the interval narrower. On a machine that is unsteady most of
    the time it does not: there the few steady samples were found to repeat half as well as all of them together.
    """
    everything = Measurement(samples_ms=tuple(sample.corrected_ms for sample in samples))
    steady_ms = tuple(sample.corrected_ms for sample in samples if not sample.is_flagged)
    if not MIN_STEADY_SAMPLES <= len(steady_ms) < len(samples):
        return everything
    return min(everything, Measurement(samples_ms=steady_ms), key=lambda measurement: measurement.relative_half_width)


@functools.cache
def _resampled_indices(num_samples: int) -> numpy.ndarray:
    generator = numpy.random.default_rng(num_samples)
    return generator.integers(num_samples, size=(NUM_RESAMPLES, num_samples))
