import itertools
import os
import random
import signal
import statistics
import threading
import time
from pathlib import Path
from typing import Self

import pytest
import sqlalchemy
from sqlalchemy import Engine

from profilers.backends.exact import ExactBackend, exact_latency_ms
from profilers.backends.registry import open_backend
from profilers.campaign import run_campaign
from profilers.latency_table import LatencyTable
from profilers.measurement import Sample, measurement_of
from profilers.memory import portions
from profilers.protocol import Protocol, is_finished
from profilers.sentinel import SENTINEL, has_moved, local_sentinels_ms
from profilers.storage import open_engine
from profilers.subject import Subject
from profilers.worker_client import Worker
from search_space.specs import BlockSpec, ConvSpec, NormOutSpec

BROKEN = NormOutSpec(channels=8, size=8, norm_groups=3)  # three groups do not divide eight channels
DEVICE = ExactBackend().device


def steady_sample(raw_ms: float = 1.0, *, drift: float = 1.0, is_flagged: bool = False) -> Sample:
    return Sample(
        raw_ms=raw_ms, num_runs=1, drift=drift, round_index=0, position=0, taken_at=0.0, is_flagged=is_flagged
    )


def positions(table: LatencyTable, subjects: list[Subject]) -> list[tuple[int, ...]]:
    """For every round, the place of every subject."""
    samples = table.samples(DEVICE, subjects)
    return list(zip(*([sample.position for sample in samples[subject]] for subject in subjects), strict=True))


def test_exact_device_is_measured_exactly(
    engine: Engine, small_specs: tuple[BlockSpec, ...], quick_protocol: Protocol
) -> None:
    table = LatencyTable(engine)
    run_campaign(list(map(Subject.of_block, small_specs)), ExactBackend(), table, protocol=quick_protocol)
    for spec in small_specs:
        record = table.records(DEVICE, [Subject.of_block(spec)])[Subject.of_block(spec)]
        assert record.status == "measured"
        assert record.median_ms == pytest.approx(exact_latency_ms(spec), rel=1e-9)


def test_a_campaign_keeps_its_rules_and_the_machine_before_and_after(
    sqlite_engine: Engine, small_specs: tuple[BlockSpec, ...], quick_protocol: Protocol
) -> None:
    run_campaign(
        [Subject.of_block(small_specs[0])], ExactBackend(), LatencyTable(sqlite_engine), protocol=quick_protocol
    )
    with sqlite_engine.connect() as connection:
        query = "SELECT protocol, environment_before, environment_after FROM latency_campaigns"
        ((protocol, before, after),) = connection.execute(sqlalchemy.text(query)).all()
    assert '"seed": 0' in protocol
    assert "load_average" in before
    assert "load_average" in after


def test_rounds_are_interleaved_at_random_and_repeatably(tmp_path: Path, small_specs: tuple[BlockSpec, ...]) -> None:
    subjects = [Subject.of_block(ConvSpec(in_channels=4, out_channels=4, size=size)) for size in range(4, 14)]
    protocol = Protocol(min_rounds=6, num_calibration_probes=3)
    found = []
    for name in ("first", "second"):
        table = LatencyTable(open_engine(f"sqlite:///{tmp_path / name}"))
        run_campaign(subjects, ExactBackend(), table, protocol=protocol)
        found.append(positions(table, subjects))
    assert found[0] == found[1]
    assert all(sorted(order) == list(range(len(subjects))) for order in found[0])
    assert len(set(found[0])) == len(found[0])


@pytest.mark.parametrize("device_name", ["host-torch", "host-onnxruntime"])
def test_a_block_that_cannot_run_is_a_row_with_a_reason_and_the_campaign_goes_on(
    sqlite_engine: Engine, device_name: str, small_specs: tuple[BlockSpec, ...], quick_protocol: Protocol
) -> None:
    backend, table = open_backend(device_name), LatencyTable(sqlite_engine)
    specs = (BROKEN, small_specs[0])
    run_campaign(list(map(Subject.of_block, specs)), backend, table, protocol=quick_protocol)
    coverage = table.coverage(specs, backend.device)
    assert coverage.failed == (BROKEN,)
    assert coverage.present + coverage.unstable == (small_specs[0],)
    reason = table.records(backend.device, [Subject.of_block(BROKEN)])[Subject.of_block(BROKEN)].reason
    assert reason is not None
    assert "divisible" in reason


def test_a_worker_that_is_killed_costs_at_most_the_block_it_worked_on(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    process_ids: list[int] = []

    class RememberedWorker(Worker):
        def __enter__(self) -> Self:
            process_ids.append(self.process_id)
            return super().__enter__()

    monkeypatch.setattr("profilers.subject_group.Worker", RememberedWorker)
    specs = [ConvSpec(in_channels=4, out_channels=4, size=size) for size in range(4, 14)]
    table, protocol = LatencyTable(sqlite_engine), Protocol(min_rounds=30, max_rounds=30, num_calibration_probes=3)

    def kill_the_first_worker() -> None:
        while not table.samples(DEVICE, [Subject.of_block(specs[0])]):
            time.sleep(0.01)
        os.kill(process_ids[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_the_first_worker)
    killer.start()
    run_campaign([Subject.of_block(spec) for spec in specs], ExactBackend(), table, protocol=protocol)
    killer.join()
    coverage = table.coverage(specs, DEVICE)
    assert len(process_ids) == 2
    assert len(coverage.failed) <= 1
    assert len(coverage.present) + len(coverage.failed) == len(specs)
    for spec in coverage.failed:
        reason = table.records(DEVICE, [Subject.of_block(spec)])[Subject.of_block(spec)].reason
        assert reason is not None
        assert "SIGKILL" in reason


def test_samples_of_a_killed_campaign_count(
    sqlite_engine: Engine, small_specs: tuple[BlockSpec, ...], quick_protocol: Protocol
) -> None:
    table, subjects = LatencyTable(sqlite_engine), list(map(Subject.of_block, small_specs))
    table.add_device(DEVICE)
    run_campaign(subjects[:1], ExactBackend(), table, protocol=quick_protocol)
    kept = table.samples(DEVICE, subjects[:1])[subjects[0]]
    with sqlite_engine.begin() as connection:  # as if it had been killed ahead of the last step
        connection.execute(sqlalchemy.text("UPDATE latency_rows SET status = 'sampling', median_ms = NULL"))
    run_campaign(subjects, ExactBackend(), table, protocol=quick_protocol)
    found = table.samples(DEVICE, subjects)
    assert found[subjects[0]][: len(kept)] == kept
    assert len(found[subjects[0]]) == len(kept) + 1
    assert len(found[subjects[1]]) == quick_protocol.min_rounds


def test_a_later_campaign_is_measured_against_the_first_sentinel(
    sqlite_engine: Engine, small_specs: tuple[BlockSpec, ...], quick_protocol: Protocol
) -> None:
    table = LatencyTable(sqlite_engine)
    table.add_device(DEVICE)
    sentinel = ExactBackend().load(SENTINEL, Path()).run(1) * 1000
    table.set_sentinel_ms(DEVICE, sentinel / 2)  # the machine was twice as fast then
    subject = Subject.of_block(small_specs[0])
    run_campaign([subject], ExactBackend(), table, protocol=quick_protocol)
    assert table.records(DEVICE, [subject])[subject].median_ms == pytest.approx(exact_latency_ms(small_specs[0]) / 2)


def test_drift_of_the_machine_is_divided_out() -> None:
    # A machine that becomes 20 % slower over 10 rounds, in each of which it measures 60 blocks of 1 ms in random order.
    generator, num_blocks, num_rounds, every = random.Random(0), 60, 10, 8
    samples: dict[int, list[Sample]] = {block: [] for block in range(num_blocks)}
    for round_index in range(num_rounds):

        def speed(position: int, round_index: int = round_index) -> float:
            return 1 + 0.2 * (round_index + position / num_blocks) / num_rounds

        probe_positions = [*range(0, num_blocks, every), num_blocks]
        probes_ms = [0.5 * speed(position) * generator.gauss(1, 0.002) for position in probe_positions]
        sentinels_ms = local_sentinels_ms(probes_ms, probe_positions, num_samples=num_blocks)
        for position, block in enumerate(generator.sample(range(num_blocks), num_blocks)):
            raw_ms = speed(position) * generator.gauss(1, 0.002)
            samples[block].append(steady_sample(raw_ms, drift=sentinels_ms[position] / 0.5))
    medians_ms = [measurement_of(block_samples).median_ms for block_samples in samples.values()]
    raw_medians_ms = [
        statistics.median(sample.raw_ms for sample in block_samples) for block_samples in samples.values()
    ]
    assert max(abs(median_ms - 1) for median_ms in medians_ms) < 0.01
    assert min(raw_medians_ms) > 1.07


def test_one_stray_look_at_the_sentinel_moves_nothing() -> None:
    probes_ms = [0.5, 0.5, 9.0, 0.5, 0.5]
    assert local_sentinels_ms(probes_ms, [0, 4, 8, 12, 16], num_samples=16) == [0.5] * 16


def test_a_round_in_which_the_sentinel_moves_is_flagged() -> None:
    protocol = Protocol()
    assert not has_moved([0.5, 0.51, 0.5, 0.51], protocol)
    assert has_moved([0.5, 0.5, 0.52, 0.52], protocol)
    assert has_moved([0.52, 0.52, 0.5, 0.5], protocol)


def test_a_subject_is_finished_when_it_is_stable_or_has_had_its_chances() -> None:
    protocol = Protocol(min_rounds=5, max_rounds=10, max_total_rounds=15)
    noisy = [steady_sample(value) for value in itertools.islice(itertools.cycle((1.0, 1.5, 2.0)), 20)]
    assert not is_finished([steady_sample()] * 4, protocol)
    assert is_finished([steady_sample()] * 5, protocol)
    assert not is_finished(noisy[:9], protocol)
    assert is_finished(noisy[:10], protocol)
    assert not is_finished([steady_sample(is_flagged=True)] * 14, protocol)
    assert is_finished([steady_sample(is_flagged=True)] * 15, protocol)


def test_groups_fit_into_memory_and_lose_nobody() -> None:
    subjects = [Subject.of_block(ConvSpec(in_channels=64, out_channels=64, size=size)) for size in range(1, 11)]
    one_block_bytes = 4 * (64 * 64 * 9 + 64)
    groups = list(portions(subjects, 3 * one_block_bytes))
    assert [len(group) for group in groups] == [3, 3, 3, 1]
    assert list(itertools.chain(*groups)) == subjects
    assert [len(group) for group in portions(subjects, 1)] == [1] * 10
