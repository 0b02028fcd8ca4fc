"""What slowed everything around one moment, as told by everything that was measured then.

The sentinel is one small block, looked at now and then. Subjects that take turns in random order say more: where
sixteen samples in a row, of as many subjects, are a tenth above what their subjects take in the middle, the machine was
a tenth slower, whether the sentinel felt it or not. So the logarithm of a latency, drift divided out, is taken for the
sum of its subject's part and its stretch's, both are fitted by median polish (Tukey 1977, *Exploratory Data Analysis*,
chapter 11), and the stretch's part is divided out. On a noisy machine that halved the error of large networks
(`docs/log.md`, 2026-11-26).
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy
from numpy.typing import NDArray

from profilers.measurement import Sample
from profilers.subject import Subject

SAMPLES_PER_STRETCH = 16
MIN_SUBJECTS = 8
"""In a stretch: fewer would be compared with little but themselves."""
MAX_GAP_S = 60.0
"""Within a stretch; after a longer one the machine is another."""
_NUM_SWEEPS = 10


def with_common_slowness(samples: Mapping[Subject, Sequence[Sample]]) -> dict[Subject, list[Sample]]:
    """The samples, each with how slow its stretch was; blocks and networks are compared among themselves."""
    found: dict[Subject, list[Sample]] = {}
    for kind in sorted({subject.kind for subject in samples}):
        subjects = [subject for subject, taken in samples.items() if subject.kind == kind and taken]
        factors = common_slowness([samples[subject] for subject in subjects])
        for subject, of_subject in zip(subjects, factors, strict=True):
            pairs = zip(samples[subject], of_subject, strict=True)
            found[subject] = [dataclasses.replace(sample, common_slowness=factor) for sample, factor in pairs]
    return found


def common_slowness(samples: Sequence[Sequence[Sample]]) -> list[list[float]]:
    """How slow every sample's stretch was, beside what its drift says.

    Args:
        samples: Of every subject, none of them without any.

    Returns:
        For every sample: 1 is as slow as the middle of all samples, and what a stretch of too few subjects gets.
    """
    if not samples:
        return []
    flat = [sample for of_subject in samples for sample in of_subject]
    subjects = numpy.repeat(numpy.arange(len(samples)), [len(of_subject) for of_subject in samples])
    stretches = _stretches(flat)
    num_subjects = numpy.bincount(numpy.unique(numpy.stack([stretches, subjects]), axis=1)[0])
    is_known = num_subjects >= MIN_SUBJECTS
    if not is_known.any():
        return [[1.0] * len(of_subject) for of_subject in samples]
    log_ms = numpy.log([sample.raw_ms for sample in flat])
    log_ms -= [sample.elasticity for sample in flat] * numpy.log([sample.drift for sample in flat])
    slowness = numpy.zeros(len(is_known))
    for _ in range(_NUM_SWEEPS):
        levels = _medians(log_ms - slowness[stretches], subjects)
        slowness = _medians(log_ms - levels[subjects], stretches)
        middle = numpy.median(slowness[stretches][is_known[stretches]])
        slowness = numpy.where(is_known, slowness - middle, 0.0)
    factors = numpy.exp(slowness[stretches]).tolist()
    ends = numpy.cumsum([len(of_subject) for of_subject in samples]).tolist()
    return [factors[end - len(of_subject) : end] for of_subject, end in zip(samples, ends, strict=True)]


def _stretches(samples: Sequence[Sample]) -> NDArray[numpy.intp]:
    """The number of every sample's stretch: as many in a row as make a stretch, without a long gap."""
    taken_at = numpy.array([sample.taken_at for sample in samples])
    positions = numpy.array([sample.position for sample in samples])
    order = numpy.lexsort((positions, taken_at))
    without_gaps = numpy.split(order, numpy.flatnonzero(numpy.diff(taken_at[order]) > MAX_GAP_S) + 1)
    parts = [
        part
        for in_a_row in without_gaps
        for part in numpy.array_split(in_a_row, max(1, len(in_a_row) // SAMPLES_PER_STRETCH))
    ]
    stretches = numpy.empty(len(samples), dtype=numpy.intp)
    for number, part in enumerate(parts):
        stretches[part] = number
    return stretches


def _medians(values: NDArray[numpy.float64], groups: NDArray[numpy.intp]) -> NDArray[numpy.float64]:
    """The median of every group: `[max(groups) + 1]`; no group is empty."""
    ordered = values[numpy.lexsort((values, groups))]
    sizes = numpy.bincount(groups)
    starts = numpy.cumsum(sizes) - sizes
    medians: NDArray[numpy.float64] = (ordered[starts + (sizes - 1) // 2] + ordered[starts + sizes // 2]) / 2
    return medians
