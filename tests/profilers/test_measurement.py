import dataclasses
import math

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profilers.measurement import MAX_ELASTICITY, MAX_MS, MIN_MS, Measurement, Sample, measurement_of

samples_ms = st.lists(st.floats(0.01, 1000), min_size=1, max_size=30).map(tuple)


def sample(raw_ms: float, *, drift: float = 1.0, is_flagged: bool = False) -> Sample:
    return Sample(
        raw_ms=raw_ms, num_runs=1, drift=drift, round_index=0, position=0, taken_at=0.0, is_flagged=is_flagged
    )


def test_median_and_iqr_of_known_samples() -> None:
    measurement = Measurement(samples_ms=(5.0, 1.0, 3.0, 2.0, 4.0))
    assert measurement.median_ms == 3.0


@pytest.mark.parametrize("bad", [(), (0.0,), (-1.0,), (math.nan,), (math.inf,)])
def test_impossible_samples_are_refused(bad: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="sample"):
        Measurement(samples_ms=bad)


@pytest.mark.parametrize("elasticity", [0.0, MAX_ELASTICITY])
@pytest.mark.parametrize("drift", [MIN_MS / MAX_MS, MAX_MS / MIN_MS])
@pytest.mark.parametrize("raw_ms", [MIN_MS, MAX_MS])
def test_no_sample_that_may_come_in_is_corrected_to_nothing_or_to_infinity(
    raw_ms: float, drift: float, elasticity: float
) -> None:
    assert measurement_of([dataclasses.replace(sample(raw_ms, drift=drift), elasticity=elasticity)]).median_ms > 0


@given(samples_ms)
def test_interval_holds_the_median_and_stays_within_the_samples(samples: tuple[float, ...]) -> None:
    measurement = Measurement(samples_ms=samples)
    low_ms, high_ms = measurement.confidence_interval_ms()
    assert min(samples) <= low_ms <= measurement.median_ms <= high_ms <= max(samples)


@given(samples_ms, st.floats(0.1, 10))
def test_interval_scales_with_the_samples(samples: tuple[float, ...], factor: float) -> None:
    scaled = Measurement(samples_ms=tuple(factor * sample for sample in samples)).confidence_interval_ms()
    expected = Measurement(samples_ms=samples).confidence_interval_ms()
    assert scaled == pytest.approx(tuple(factor * end for end in expected))


def test_equal_samples_give_equal_intervals() -> None:
    samples = tuple(numpy.random.default_rng(0).normal(10, 1, 15))
    assert (
        Measurement(samples_ms=samples).confidence_interval_ms()
        == Measurement(samples_ms=samples).confidence_interval_ms()
    )


def test_interval_agrees_with_the_exact_bootstrap_distribution() -> None:
    # For an odd number of samples the resampled median is at most the k-th smallest sample exactly if more than half of
    # the draws are: a binomial probability.
    num_samples = 15
    measurement = Measurement(samples_ms=tuple(float(value) for value in range(1, num_samples + 1)))

    def probability_at_most(k: int) -> float:
        share = k / num_samples
        middle = num_samples // 2 + 1
        return sum(
            math.comb(num_samples, draws) * share**draws * (1 - share) ** (num_samples - draws)
            for draws in range(middle, num_samples + 1)
        )

    exact_low = next(k for k in range(1, num_samples + 1) if probability_at_most(k) >= 0.025)
    exact_high = next(k for k in range(1, num_samples + 1) if probability_at_most(k) >= 0.975)
    low_ms, high_ms = measurement.confidence_interval_ms()
    assert abs(low_ms - exact_low) <= 1
    assert abs(high_ms - exact_high) <= 1


def test_interval_covers_the_true_median_about_as_often_as_it_says() -> None:
    generator = numpy.random.default_rng(1)
    intervals = [
        Measurement(samples_ms=tuple(generator.normal(10, 1, 25))).confidence_interval_ms() for _ in range(200)
    ]
    coverage = sum(low <= 10 <= high for low, high in intervals) / len(intervals)
    assert 0.90 <= coverage <= 0.99


def test_stable_means_known_to_one_percent() -> None:
    assert Measurement(samples_ms=(100.0, 100.1, 99.9, 100.0, 100.05)).is_stable
    assert not Measurement(samples_ms=(100.0, 110.0, 90.0, 104.0, 95.0)).is_stable
    assert not Measurement(samples_ms=(100.0,)).is_stable


def test_drift_is_divided_out() -> None:
    samples = [sample(10.0, drift=1.0), sample(20.0, drift=2.0), sample(5.0, drift=0.5)]
    assert measurement_of(samples).samples_ms == (10.0, 10.0, 10.0)


def test_flagged_samples_are_left_out_where_that_narrows_the_interval() -> None:
    steady = [sample(10.0 + 0.01 * index) for index in range(6)]
    flagged = [sample(value, is_flagged=True) for value in (7.0, 13.0, 99.0)]
    assert len(measurement_of(steady + flagged).samples_ms) == 6
    assert len(measurement_of(steady[:4] + flagged).samples_ms) == 7  # too few to stand alone


def test_flagged_samples_count_where_they_narrow_the_interval() -> None:
    steady = [sample(value) for value in (8.0, 9.0, 10.0, 11.0, 12.0)]
    flagged = [sample(10.0 + 0.01 * index, is_flagged=True) for index in range(40)]
    assert len(measurement_of(steady + flagged).samples_ms) == 45
