"""What slows everything at once is divided out, by nothing but the samples themselves."""

import dataclasses
import random
import statistics

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profilers.common_mode import MAX_GAP_S, MIN_SUBJECTS, SAMPLES_PER_STRETCH, common_slowness, with_common_slowness
from profilers.measurement import Sample
from profilers.subject import Subject


def sampled(
    latencies_ms: list[float],
    *,
    num_rounds: int,
    noise: float = 0.0,
    swing: float = 0.0,
    gap_s: float = 0.1,
    seed: int = 0,
) -> tuple[list[list[Sample]], list[list[float]]]:
    """Subjects in random order on a machine whose speed changes after every ten stretches; and what it really was."""
    generator, order = numpy.random.default_rng(seed), random.Random(seed)
    samples: list[list[Sample]] = [[] for _ in latencies_ms]
    truth: list[list[float]] = [[] for _ in latencies_ms]
    taken = 0
    for round_index in range(num_rounds):
        for position, index in enumerate(order.sample(range(len(latencies_ms)), len(latencies_ms))):
            if taken % (10 * SAMPLES_PER_STRETCH) == 0:
                slowness = float(numpy.exp(generator.normal(0, swing)))
            raw_ms = latencies_ms[index] * slowness * float(numpy.exp(generator.normal(0, noise)))
            sample = Sample(
                raw_ms=raw_ms,
                num_runs=1,
                drift=1.0,
                round_index=round_index,
                position=position,
                taken_at=0.1 * taken,
                is_flagged=False,
            )
            samples[index].append(sample)
            truth[index].append(slowness)
            taken += 1
    return samples, truth


def medians(samples: list[list[Sample]], factors: list[list[float]]) -> list[float]:
    return [
        statistics.median(sample.raw_ms / factor for sample, factor in zip(taken, of_subject, strict=True))
        for taken, of_subject in zip(samples, factors, strict=True)
    ]


def error(found: list[float], latencies_ms: list[float]) -> float:
    """The mean error up to one common factor."""
    ratios = numpy.log(found) - numpy.log(latencies_ms)
    return float(numpy.abs(ratios - numpy.median(ratios)).mean())


@given(st.lists(st.floats(0.01, 1000), min_size=32, max_size=32), st.integers(0, 1000))
def test_without_noise_the_machine_is_found_exactly(latencies_ms: list[float], seed: int) -> None:
    samples, truth = sampled(latencies_ms, num_rounds=25, swing=0.2, seed=seed)
    ratios = numpy.concatenate(common_slowness(samples)) / numpy.concatenate(truth)
    assert numpy.allclose(ratios, numpy.median(ratios), rtol=1e-6)


def test_a_swaying_machine_costs_a_third_of_what_it_did() -> None:
    latencies_ms = [100.0 + index for index in range(40)]
    samples, truth = sampled(latencies_ms, num_rounds=30, noise=0.02, swing=0.3)
    before = error(medians(samples, [[1.0] * 30] * 40), latencies_ms)
    after = error(medians(samples, common_slowness(samples)), latencies_ms)
    with_the_truth = error(medians(samples, truth), latencies_ms)
    assert after < before / 3
    assert after < 1.2 * with_the_truth


def test_a_steady_machine_loses_next_to_nothing() -> None:
    latencies_ms = [100.0 + index for index in range(40)]
    samples, truth = sampled(latencies_ms, num_rounds=30, noise=0.05)
    assert error(medians(samples, common_slowness(samples)), latencies_ms) < 1.1 * error(
        medians(samples, truth), latencies_ms
    )


def test_the_middle_of_all_samples_stays_where_it_was() -> None:
    samples, _ = sampled([10.0] * 40, num_rounds=30, noise=0.05, swing=0.2)
    factors = numpy.concatenate(common_slowness(samples))
    assert numpy.median(factors) == pytest.approx(1.0, abs=0.01)


def test_too_few_subjects_are_not_compared_with_themselves() -> None:
    samples, _ = sampled([10.0] * (MIN_SUBJECTS - 1), num_rounds=50, noise=0.05, swing=0.2)
    assert set(numpy.concatenate(common_slowness(samples))) == {1.0}
    assert common_slowness([]) == []


def test_no_stretch_reaches_over_a_long_gap() -> None:
    """One long gap after every fourth sample: four samples are of too few subjects."""
    samples, _ = sampled([10.0] * 16, num_rounds=20, noise=0.05)
    torn = [
        [dataclasses.replace(s, taken_at=MAX_GAP_S * (2 * (s.position // 4) + 8 * s.round_index)) for s in taken]
        for taken in samples
    ]
    assert set(numpy.concatenate(common_slowness(torn))) == {1.0}
    assert len(set(numpy.concatenate(common_slowness(samples)))) == 20 * 16 // SAMPLES_PER_STRETCH


def test_what_the_drift_says_already_is_not_said_twice() -> None:
    samples, truth = sampled([10.0 + index for index in range(40)], num_rounds=20, swing=0.2)
    told = [
        [dataclasses.replace(s, drift=slow**2, elasticity=0.5) for s, slow in zip(taken, slows, strict=True)]
        for taken, slows in zip(samples, truth, strict=True)
    ]
    assert numpy.allclose(numpy.concatenate(common_slowness(told)), 1.0)


def test_blocks_and_networks_are_compared_among_themselves() -> None:
    slow, _ = sampled([10.0] * 20, num_rounds=20, noise=0.02, swing=0.3)
    steady, _ = sampled([10.0] * 20, num_rounds=20)
    blocks = {Subject(kind="block", text=str(index)): taken for index, taken in enumerate(slow)}
    networks = {Subject(kind="network", text=str(index)): taken for index, taken in enumerate(steady)}
    found = with_common_slowness({**blocks, **networks})
    assert list(found) == [*blocks, *networks]
    assert {sample.common_slowness for network in networks for sample in found[network]} == {1.0}
    spread = [numpy.std(numpy.log([sample.corrected_ms for sample in found[block]])) for block in blocks]
    assert max(spread) < 0.1
