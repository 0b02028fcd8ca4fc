from collections.abc import Sequence
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from profilers.backends.registry import open_backend
from profilers.campaign import run_campaign
from profilers.elasticity import fit_elasticities, fit_elasticity, with_elasticity
from profilers.environment import unknown_environment
from profilers.latency_table import LatencyTable
from profilers.load_report import LoadReport
from profilers.measurement import MAX_ELASTICITY, Sample, measurement_of
from profilers.protocol import Protocol
from profilers.sentinel import SENTINEL
from profilers.subject import Subject
from profilers.worker_client import Worker
from profilers.yardstick import YARDSTICK
from search_space.specs import BlockSpec

BACKEND = open_backend("host-onnxruntime")


def drifting_samples(
    latency_ms: float, elasticity: float, *, num_samples: int = 40, noise: float = 0.01, seed: int = 0
) -> list[Sample]:
    """Of a machine whose sentinel wanders by a tenth, and a subject that follows it with so much elasticity."""
    generator = numpy.random.default_rng(seed)
    drifts = numpy.exp(generator.normal(0.05, 0.1, num_samples))
    raw_ms = latency_ms * drifts**elasticity * numpy.exp(generator.normal(0, noise, num_samples))
    return [
        Sample(raw_ms=raw, num_runs=1, drift=drift, round_index=0, position=0, taken_at=0.0, is_flagged=False)
        for raw, drift in zip(raw_ms.tolist(), drifts.tolist(), strict=True)
    ]


@given(st.floats(0, MAX_ELASTICITY), st.lists(st.floats(0.01, 1000), min_size=3, max_size=8))
def test_the_elasticity_of_subjects_of_any_latency_is_found(elasticity: float, latencies_ms: list[float]) -> None:
    samples = [drifting_samples(latency_ms, elasticity, seed=seed) for seed, latency_ms in enumerate(latencies_ms)]
    assert fit_elasticity(samples) == pytest.approx(elasticity, abs=0.05)


def test_a_tenth_of_stray_samples_changes_little() -> None:
    strays = [drifting_samples(100.0, 5.0, num_samples=4, noise=1.0, seed=seed) for seed in range(10)]
    samples = [drifting_samples(100.0, 0.4, seed=seed) + stray for seed, stray in enumerate(strays)]
    assert fit_elasticity(samples) == pytest.approx(0.4, abs=0.05)


def test_a_machine_that_never_moves_says_nothing() -> None:
    steady = [
        Sample(raw_ms=raw_ms, num_runs=1, drift=1.1, round_index=0, position=0, taken_at=0.0, is_flagged=False)
        for raw_ms in (5.0, 5.1, 4.9)
    ]
    assert fit_elasticity([steady]) == fit_elasticity([steady[:1]]) == fit_elasticity([]) == 1.0


def test_few_noisy_samples_stay_near_one() -> None:
    few = [drifting_samples(5.0, 3.0, num_samples=3, noise=0.2)]
    many = [drifting_samples(5.0, 3.0, num_samples=300, noise=0.2)]
    assert fit_elasticity(few) < 2 < fit_elasticity(many)


def test_what_follows_the_machine_less_repeats_better_when_less_is_divided_out() -> None:
    samples = [drifting_samples(150.0, 0.4, seed=seed) for seed in range(20)]
    fitted = [with_elasticity(of_network, fit_elasticity(samples)) for of_network in samples]
    errors, plain_errors = (
        [abs(measurement_of(of_network).median_ms / 150 - 1) for of_network in networks]
        for networks in (fitted, samples)
    )
    assert numpy.mean(errors) < 0.005
    assert numpy.mean(plain_errors) > 0.02


def test_what_a_killed_campaign_finished_is_settled_with_the_rest(
    sqlite_engine: Engine, small_specs: tuple[BlockSpec, ...], quick_protocol: Protocol
) -> None:
    table, device = LatencyTable(sqlite_engine), open_backend("exact").device
    finished, network, other = *map(Subject.of_block, small_specs[:1]), YARDSTICK, Subject.of_block(small_specs[1])
    table.add_device(device)
    killed = table.start_campaign(device, protocol="{}", environment=unknown_environment())
    samples = {finished: drifting_samples(0.1, 2.0), network: drifting_samples(150.0, 0.4)}
    table.add_samples(device, samples, campaign_id=killed)
    table.finish(device, samples, elasticities={"block": 1.0, "network": 1.0})  # all that was known when it was killed
    assert table.unsettled(device, "block") == {finished}

    run_campaign([other], open_backend("exact"), table, protocol=quick_protocol)
    found = table.samples(device, [finished, network, other])
    assert {sample.elasticity for sample in found[finished]} == {found[other][0].elasticity}
    assert found[other][0].elasticity == pytest.approx(2.0, abs=0.1)
    assert found[network][0].elasticity == 1.0  # a campaign of blocks says nothing of networks
    assert table.unsettled(device, "block") == frozenset()
    assert table.unsettled(device, "network") == {network}


def test_blocks_and_networks_are_fitted_apart() -> None:
    block, network = Subject(kind="block", text="{}"), Subject(kind="network", text="{}")
    samples = {block: drifting_samples(0.1, 2.0), network: drifting_samples(150.0, 0.4)}
    assert fit_elasticities(samples) == pytest.approx({"block": 2.0, "network": 0.4}, abs=0.05)


class SwayingWorker(Worker):
    """A machine that sways by a fifth, of which these blocks feel the square root."""

    num_probes = 0

    def load(self, subject: Subject, *, slot: int, path: Path) -> tuple[int, LoadReport]:
        return 1, LoadReport(load_ms=1, first_run_ms=1, peak_memory_mib=None, placement={})

    @property
    def slowness(self) -> float:
        return 1 + 0.2 * (self.num_probes // 15 % 3)

    def sample(self, slot: int) -> tuple[float, float]:
        self.num_probes += 1
        return 0.5 * self.slowness, 0.0

    def samples_in_turn(self, slots: Sequence[int], *, num_passes: int, expected_s: float) -> tuple[list[float], float]:
        return [2.0 * self.slowness**0.5] * len(slots), 0.0


def test_a_campaign_keeps_how_closely_its_blocks_follow_the_machine(
    sqlite_engine: Engine, small_specs: tuple[BlockSpec, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profilers.subject_group.Worker", SwayingWorker)
    table, subjects = LatencyTable(sqlite_engine), list(map(Subject.of_block, small_specs))
    table.add_device(BACKEND.device)
    table.set_sentinel_ms(BACKEND.device, 0.5)
    protocol = Protocol(max_rounds=24, has_second_chance=False)
    run_campaign(subjects, BACKEND, table, protocol=protocol)
    samples = table.samples(BACKEND.device, subjects)
    for subject, record in table.records(BACKEND.device, subjects).items():
        assert [sample.elasticity for sample in samples[subject]] == pytest.approx(
            [0.5] * len(samples[subject]), abs=0.1
        )
        assert record.median_ms == measurement_of(samples[subject]).median_ms == pytest.approx(2.0, rel=0.02)
    assert SENTINEL not in samples
