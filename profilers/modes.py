"""Whether samples stand in two heaps: a block that is sometimes fast and sometimes slow has no one latency.

Two heaps mean that something switches: a clock that jumps, a kernel chosen anew at every start, a core shared with
somebody. The median then says which heap is larger, not how long the block takes.

Otsu's threshold (IEEE Trans. SMC 9, 1979) splits the samples where the two sides differ most against the spread inside
them. The sides are two modes if each has a quarter of the samples, if nothing was seen between them on a stretch of
more than 3 % of the median, and if that stretch is `50 / n` times as wide as the middle half of either side. The factor
falls with the number of samples n because few samples leave wide gaps by chance.

False alarms on simulated samples with one mode, spread so wide that the 3 % never help, 2000 rows each: uniform,
normal, exponential, log-normal and Student's t at most 0.9 % with 12 samples and 0.3 % with 20. A tight heap with two
fifths of the samples scattered above it, one mode by the letter, is called two in 11 % and 8 %.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy

MIN_SAMPLES = 12
MIN_SHARE = 0.25
MIN_GAP = 0.03  # of the median
GAP_FACTOR = 50.0  # times the wider middle half, by the number of samples


@dataclass(frozen=True, kw_only=True)
class TwoModes:
    """Where the two heaps of one row's samples are."""

    low_ms: float
    """Median of the fast samples."""
    high_ms: float
    """Median of the slow samples."""
    num_low: int
    """How many samples are fast."""
    num_high: int
    """How many samples are slow."""


def two_modes(samples_ms: Sequence[float]) -> TwoModes | None:
    """The two heaps; None where there is one, or where there are too few samples to tell."""
    if len(samples_ms) < MIN_SAMPLES:
        return None
    ordered = numpy.sort(numpy.asarray(samples_ms))
    middle = _otsu_split(ordered)
    low, high = ordered[:middle], ordered[middle:]
    gap_ms = float(high[0] - low[-1])
    spread_ms = max(_middle_half_ms(low), _middle_half_ms(high))
    if gap_ms <= MIN_GAP * statistics.median(samples_ms) or gap_ms < GAP_FACTOR / len(ordered) * spread_ms:
        return None
    return TwoModes(
        low_ms=float(numpy.median(low)), high_ms=float(numpy.median(high)), num_low=len(low), num_high=len(high)
    )


def _otsu_split(ordered: numpy.ndarray) -> int:
    """How many samples are on the lower side, where the variance between the sides is greatest."""
    num_samples = len(ordered)
    fewest = math.ceil(MIN_SHARE * num_samples)
    num_low = numpy.arange(fewest, num_samples - fewest + 1)
    first, third = numpy.percentile(ordered, (25, 75))
    fence = 1.5 * (third - first)  # Tukey's: a stray run would draw the split to itself
    sums = numpy.cumsum(numpy.clip(ordered, first - fence, third + fence))
    low_means = sums[num_low - 1] / num_low
    high_means = (sums[-1] - sums[num_low - 1]) / (num_samples - num_low)
    between = num_low * (num_samples - num_low) * (high_means - low_means) ** 2
    return int(num_low[numpy.argmax(between)])


def _middle_half_ms(ordered: numpy.ndarray) -> float:
    first, third = numpy.percentile(ordered, (25, 75))
    return float(third - first)
