"""How closely latencies follow the machine: by what power of the drift they are divided.

Whatever else runs on a machine does not slow everything on it alike. While the sentinel, one small convolution, takes
10 % longer, a network of 150 ms was seen to take 4 % longer, and a block of ExecuTorch 30 %. So what is measured
together says itself how closely it follows: by the slope of the samples over the drift, both as logarithms and around
each subject's own mean. Economists call such a slope an elasticity; in statistics the drift is a control variate
(Lavenberg and Welch 1981, https://doi.org/10.1287/mnsc.27.3.322).
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy

from profilers.measurement import MAX_ELASTICITY, Sample
from profilers.subject import Subject

_PRIOR_SPREAD = 0.5  # of elasticities around 1: what a handful of samples, or a machine that never moved, leaves
_NUM_FITS = 3  # each without what the one before found to be outliers
_OUTLIER = 3.0  # standard deviations
_DEVIATIONS_TO_SIGMA = 1.4826  # of the median absolute deviation, for a normal distribution


def fit_elasticity(samples: Iterable[Sequence[Sample]]) -> float:
    """The one power of the drift that samples of similar subjects follow best, 0 to `MAX_ELASTICITY`.

    Args:
        samples: Of every subject.

    Returns:
        1 where the drift never moved.
    """
    centred = [_centred(of_subject) for of_subject in samples if len(of_subject) > 1]
    if not centred:
        return 1.0
    drift, excess = numpy.concatenate(centred, axis=1)  # [N] each
    slope = 0.0  # of the excess: the elasticity less 1
    for _ in range(_NUM_FITS):
        deviations = numpy.abs(excess - slope * drift)
        spread = _DEVIATIONS_TO_SIGMA * numpy.median(deviations)
        kept = deviations <= _OUTLIER * spread
        information = numpy.square(drift[kept]).sum() + (spread / _PRIOR_SPREAD) ** 2
        slope = float(drift[kept] @ excess[kept] / information) if information > 0 else 0.0
    return min(max(1.0 + slope, 0.0), MAX_ELASTICITY)


def fit_elasticities(samples: Mapping[Subject, Sequence[Sample]]) -> dict[str, float]:
    """The elasticity of blocks and that of networks, by their kind."""
    kinds = sorted({subject.kind for subject in samples})
    return {kind: fit_elasticity(taken for subject, taken in samples.items() if subject.kind == kind) for kind in kinds}


def with_elasticity(samples: Iterable[Sample], elasticity: float) -> list[Sample]:
    """The samples, which follow the machine so closely."""
    return [dataclasses.replace(sample, elasticity=elasticity) for sample in samples]


def with_elasticities(
    samples: Mapping[Subject, Sequence[Sample]], elasticities: Mapping[str, float]
) -> dict[Subject, list[Sample]]:
    """The same for blocks and networks, each with the elasticity of its kind."""
    return {subject: with_elasticity(taken, elasticities[subject.kind]) for subject, taken in samples.items()}


def _centred(samples: Sequence[Sample]) -> numpy.ndarray:
    """The logarithms of drift, and of latency less those of drift, each less its mean: `[2, N]`."""
    drift = numpy.log([sample.drift for sample in samples])
    excess = numpy.log([sample.raw_ms for sample in samples]) - drift
    return numpy.stack([drift - drift.mean(), excess - excess.mean()])
