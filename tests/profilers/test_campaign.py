import dataclasses
import itertools
import multiprocessing
import os
import random
import signal
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, Self
from unittest.mock import Mock

import pytest
import sqlalchemy
from sqlalchemy import Engine

from profilers.backends.exact import ExactBackend, exact_latency_ms
from profilers.backends.registry import open_backend
from profilers.bundling.run_bundle import ThermalState
from profilers.campaign import run_campaign
from profilers.environment import record_environment
from profilers.latency_table import LatencyTable
from profilers.load_report import LoadReport
from profilers.measurement import Sample, measurement_of
from profilers.memory import counts_of
from profilers.protocol import Protocol, is_finished, protocol_of
from profilers.sentinel import SENTINEL, has_moved, local_sentinels_ms
from profilers.storage import open_engine
from profilers.subject import Subject
from profilers.worker_client import Worker
from search_space.errors import StorageError, UsageError
from search_space.space import random_arch
from search_space.spaces import search_space
from search_space.specs import BlockSpec, ConvSpec, NormOutSpec

BROKEN = NormOutSpec(channels=8, size=8, norm_groups=3)  # three groups do not divide eight channels
DEVICE = ExactBackend().device


@pytest.fixture
def process_ids(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The measuring processes of a campaign, in the order in which they start."""
    started: list[int] = []

    class RememberedWorker(Worker):
        def __enter__(self) -> Self:
            started.append(self.process_id)
            return super().__enter__()

    monkeypatch.setattr("profilers.subject_group.Worker", RememberedWorker)
    return started


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


def test_a_process_gives_way_to_a_new_one_when_its_time_is_up(
    sqlite_engine: Engine, small_specs: tuple[BlockSpec, ...], process_ids: list[int]
) -> None:
    table, subject = LatencyTable(sqlite_engine), Subject.of_block(small_specs[0])
    protocol = Protocol(min_rounds=5, max_rounds=5, num_calibration_probes=3, min_process_s=0, max_loading_share=1)
    run_campaign([subject], ExactBackend(), table, protocol=protocol)
    assert len(set(process_ids)) == 5
    assert [sample.round_index for sample in table.samples(DEVICE, [subject])[subject]] == [0, 1, 2, 3, 4]


def test_what_memory_does_not_hold_together_takes_turns(sqlite_engine: Engine, process_ids: list[int]) -> None:
    subjects = [Subject.of_block(ConvSpec(in_channels=4, out_channels=4, size=size)) for size in range(4, 9)]
    table, one_block_bytes = LatencyTable(sqlite_engine), counts_of(subjects[0]).weight_bytes
    renewed = Protocol(min_rounds=4, max_rounds=4, num_calibration_probes=3, min_process_s=0, max_loading_share=1)
    protocol = dataclasses.replace(renewed, max_loading_share_in_turns=1, max_group_bytes=2 * one_block_bytes)
    run_campaign(subjects, ExactBackend(), table, protocol=protocol)
    samples = table.samples(DEVICE, subjects)
    assert len(set(process_ids)) == sum(map(len, samples.values())) / 2 == 10
    taken = [(sample.round_index, subject) for subject in subjects for sample in samples[subject]]
    numbers = dict.fromkeys(subjects, 0)
    for _, of_round in itertools.groupby(sorted(taken, key=itemgetter(0)), key=itemgetter(0)):
        for _, subject in of_round:
            numbers[subject] += 1
        assert max(numbers.values()) - min(numbers.values()) <= 1


def test_who_takes_turns_does_so_in_ever_new_company(sqlite_engine: Engine) -> None:
    """In their order six subjects, two at a time, would make three pairs whatever the number of turns."""
    subjects = [Subject.of_block(ConvSpec(in_channels=4, out_channels=4, size=size)) for size in range(4, 10)]
    table, one_block_bytes = LatencyTable(sqlite_engine), counts_of(subjects[0]).weight_bytes
    renewed = Protocol(min_rounds=6, max_rounds=6, num_calibration_probes=3, min_process_s=0, max_loading_share=1)
    protocol = dataclasses.replace(renewed, max_loading_share_in_turns=1, max_group_bytes=2 * one_block_bytes)
    run_campaign(subjects, ExactBackend(), table, protocol=protocol)
    companies: dict[int, set[Subject]] = {}
    for subject, samples in table.samples(DEVICE, subjects).items():
        for sample in samples:
            companies.setdefault(sample.round_index, set()).add(subject)
    assert len(companies) == 18
    assert len(set(map(frozenset, companies.values()))) > 6


class RememberingBackend(ExactBackend):
    """Writes a file for every subject, and knows for which it did."""

    def __init__(self, *, max_prepared: int | None = None) -> None:
        self.prepared: list[Subject] = []
        self._max_prepared = max_prepared

    def prepare(self, subject: Subject, path: Path) -> None:
        if len(self.prepared) == self._max_prepared:
            path.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
        path.write_text("whole")
        self.prepared.append(subject)


@pytest.mark.parametrize(("commit", "num_left"), [("0123456789ab", 3), ("0123456789ab-dirty", 0), (None, 3)])
def test_what_a_killed_campaign_had_exported_is_not_exported_again_by_the_same_code(
    sqlite_engine: Engine,
    small_specs: tuple[BlockSpec, ...],
    quick_protocol: Protocol,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    commit: str | None,
    num_left: int,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("profilers.campaign.git_commit", lambda: commit)
    subjects, table = list(map(Subject.of_block, small_specs)), LatencyTable(sqlite_engine)
    context = multiprocessing.get_context("fork")
    killed = context.Process(target=run_campaign, args=(subjects, RememberingBackend(max_prepared=3), table))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    (left_behind,) = tmp_path.glob("snapnas-measuring-*")
    already_exported = {path.stem for path in left_behind.glob("*.prepared")}
    assert len(already_exported) == 3

    backend = RememberingBackend()
    run_campaign(subjects, backend, table, protocol=quick_protocol)
    exported = {subject.subject_id for subject in backend.prepared}
    assert len(exported & already_exported) == 3 - num_left
    assert exported | already_exported == {subject.subject_id for subject in [SENTINEL, *subjects]}
    assert list(tmp_path.glob("snapnas-measuring-*")) == []


def test_what_takes_long_to_load_stays_longer() -> None:
    protocol = Protocol(min_process_s=20, max_loading_share=0.1, max_loading_share_in_turns=0.5)
    assert protocol.process_end_s(100.0, 101.0, in_turns=False) == pytest.approx(121.0)
    assert protocol.process_end_s(100.0, 130.0, in_turns=False) == pytest.approx(400.0)
    assert protocol.process_end_s(100.0, 130.0, in_turns=True) == pytest.approx(160.0)


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
    sqlite_engine: Engine,
    device_name: str,
    small_specs: tuple[BlockSpec, ...],
    quick_protocol: Protocol,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ring_sizes = []

    class RingWorker(Worker):
        def samples_in_turn(
            self, slots: Sequence[int], *, num_passes: int, expected_s: float
        ) -> tuple[list[float], float]:
            ring_sizes.append(len(set(slots)))
            return super().samples_in_turn(slots, num_passes=num_passes, expected_s=expected_s)

    monkeypatch.setattr("profilers.subject_group.Worker", RingWorker)
    backend, table = open_backend(device_name), LatencyTable(sqlite_engine)
    specs = (BROKEN, small_specs[0])
    run_campaign(list(map(Subject.of_block, specs)), backend, table, protocol=quick_protocol)
    coverage = table.coverage(specs, backend.device)
    assert coverage.failed == (BROKEN,)
    assert coverage.present + coverage.unstable == (small_specs[0],)
    reason = table.records(backend.device, [Subject.of_block(BROKEN)])[Subject.of_block(BROKEN)].reason
    assert reason is not None
    assert "divisible" in reason
    reports = table.load_reports(backend.device, map(Subject.of_block, specs))
    assert [subject.text for subject in reports] == [Subject.of_block(small_specs[0]).text]
    assert all(report.load_ms > 0 for report in reports.values())
    assert set(ring_sizes) <= {quick_protocol.sentinel_every, quick_protocol.sentinel_every - 1}  # without the broken


def test_a_worker_that_is_killed_costs_at_most_the_block_it_worked_on(
    sqlite_engine: Engine, process_ids: list[int]
) -> None:
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
    protocol = Protocol(min_rounds=5, max_rounds=10)
    noisy = [steady_sample(value) for value in itertools.islice(itertools.cycle((1.0, 1.5, 2.0)), 20)]
    assert not is_finished([steady_sample()] * 4, protocol)
    assert is_finished([steady_sample()] * 5, protocol)
    assert not is_finished(noisy[:9], protocol)
    assert is_finished(noisy[:10], protocol)
    assert is_finished([steady_sample(is_flagged=True)] * 5, protocol)
    assert [number for number in range(1, 11) if is_finished([steady_sample()] * number, protocol)] == [5, 9, 10]


def test_the_number_of_rounds_can_be_chosen_and_nothing_else_changes() -> None:
    assert protocol_of(0) is None
    assert protocol_of(100) == dataclasses.replace(Protocol(), max_rounds=100)
    with pytest.raises(UsageError, match="--max-rounds 7 was given\nallowed: at least 8"):
        protocol_of(7)


def test_every_network_has_a_look_at_the_sentinel_on_either_side(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots: list[int] = []

    class WatchedWorker(Worker):
        def sample(self, slot: int, *, num_runs: int) -> tuple[float, float]:
            slots.append(slot)
            return super().sample(slot, num_runs=num_runs)

    monkeypatch.setattr("profilers.subject_group.Worker", WatchedWorker)
    subjects = [Subject.of_network(random_arch(search_space("tiny"), seed)) for seed in range(3)]
    protocol = Protocol(min_rounds=2, max_rounds=2, num_calibration_probes=1)
    run_campaign(subjects, ExactBackend(), LatencyTable(sqlite_engine), protocol=protocol)
    kinds = [kind for kind, _ in itertools.groupby(slots, key=lambda slot: "network" if slot >= 0 else "sentinel")]
    assert kinds == ["sentinel", *["network", "sentinel"] * 6]
    assert slots.count(0) == slots.count(1) == slots.count(2) == 2


def test_no_block_is_blamed_for_a_death_between_two_requests(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    process_ids: list[int] = []

    class MortalWorker(Worker):
        def samples_in_turn(self, *arguments: Any, **options: Any) -> tuple[list[float], float]:
            if self.process_id not in process_ids:
                process_ids.append(self.process_id)
                if len(process_ids) < 3:
                    os.kill(self.process_id, signal.SIGKILL)
            return super().samples_in_turn(*arguments, **options)

    monkeypatch.setattr("profilers.subject_group.Worker", MortalWorker)
    specs = [ConvSpec(in_channels=4, out_channels=4, size=size) for size in range(4, 24)]
    table, protocol = LatencyTable(sqlite_engine), Protocol(min_rounds=2, max_rounds=2, num_calibration_probes=1)
    run_campaign(list(map(Subject.of_block, specs)), ExactBackend(), table, protocol=protocol)
    assert len(process_ids) == 3
    assert len(table.coverage(specs, DEVICE).present) == len(specs)


def test_a_subject_that_hangs_is_a_row_with_a_reason_and_the_campaign_goes_on(
    sqlite_engine: Engine, process_ids: list[int]
) -> None:
    specs = [ConvSpec(in_channels=4, out_channels=4, size=size) for size in range(4, 34)]
    table = LatencyTable(sqlite_engine)
    protocol = Protocol(min_rounds=30, max_rounds=30, num_calibration_probes=3, time_limit_s=6)

    def stop_the_first_worker() -> None:
        while not table.samples(DEVICE, [Subject.of_block(specs[0])]):
            time.sleep(0.01)
        os.kill(process_ids[0], signal.SIGSTOP)

    stopper = threading.Thread(target=stop_the_first_worker)
    stopper.start()
    run_campaign([Subject.of_block(spec) for spec in specs], ExactBackend(), table, protocol=protocol)
    stopper.join()
    coverage = table.coverage(specs, DEVICE)
    assert len(process_ids) == 2
    assert len(coverage.failed) <= 1  # none if it was at the sentinel
    assert len(coverage.present) + len(coverage.failed) == len(specs)
    for subject in map(Subject.of_block, coverage.failed):
        assert "did not answer within" in str(table.records(DEVICE, [subject])[subject].reason)


def test_a_subject_that_hangs_while_it_is_loaded_is_a_row_with_a_reason(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = [ConvSpec(in_channels=4, out_channels=4, size=size) for size in range(4, 10)]
    hanging = Subject.of_block(specs[2])

    class StoppedAtLoading(Worker):
        def load(self, subject: Subject, *, slot: int, path: Path) -> tuple[int, LoadReport]:
            if subject == hanging:
                os.kill(self.process_id, signal.SIGSTOP)
            return super().load(subject, slot=slot, path=path)

    monkeypatch.setattr("profilers.subject_group.Worker", StoppedAtLoading)
    table = LatencyTable(sqlite_engine)
    protocol = Protocol(min_rounds=2, max_rounds=2, num_calibration_probes=1, loading_limit_s=4)
    run_campaign(list(map(Subject.of_block, specs)), ExactBackend(), table, protocol=protocol)
    coverage = table.coverage(specs, DEVICE)
    assert coverage.failed == (specs[2],)
    assert len(coverage.known) == len(specs) - 1
    assert "did not answer within" in str(table.records(DEVICE, [hanging])[hanging].reason)


def test_nothing_is_sampled_while_the_machine_is_too_hot(
    sqlite_engine: Engine, small_specs: tuple[BlockSpec, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, subjects = LatencyTable(sqlite_engine), list(map(Subject.of_block, small_specs))
    readings = itertools.cycle(["zone at 95 C, limit 90 C"] * 2 + [None])
    num_samples_when_read: list[tuple[bool, int]] = []

    class WarmThermometer:
        def read(self) -> ThermalState:
            complaint = next(readings)
            taken = sum(map(len, table.samples(DEVICE, subjects).values()))
            num_samples_when_read.append((complaint is not None, taken))
            return ThermalState(sensors=(), complaint=complaint)

    monkeypatch.setattr("profilers.subject_group.Thermometer", WarmThermometer)
    monkeypatch.setattr("profilers.bundling.run_bundle.time.sleep", lambda _: None)
    protocol = Protocol(min_rounds=3, max_rounds=3, num_calibration_probes=1)
    run_campaign(subjects, ExactBackend(), table, protocol=protocol)
    per_round = len(subjects)
    expected = [(is_hot, per_round * index) for index in range(3) for is_hot in (True, True, False)]
    assert num_samples_when_read == expected


def test_a_database_without_room_loses_nothing_that_was_kept(sqlite_engine: Engine, quick_protocol: Protocol) -> None:
    table = LatencyTable(sqlite_engine)
    subjects = [Subject.of_block(ConvSpec(in_channels=4, out_channels=4, size=size)) for size in range(4, 34)]
    run_campaign(subjects[:2], ExactBackend(), table, protocol=quick_protocol)
    kept = table.samples(DEVICE, subjects)
    sqlite_engine.dispose()

    def fill_the_disk(connection: sqlite3.Connection, _record: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages + 1}")

    sqlalchemy.event.listen(sqlite_engine, "connect", fill_the_disk)
    with pytest.raises(StorageError, match="full"):
        run_campaign(subjects, ExactBackend(), table, protocol=quick_protocol)
    sqlalchemy.event.remove(sqlite_engine, "connect", fill_the_disk)
    sqlite_engine.dispose()
    found = table.samples(DEVICE, subjects)
    assert all(found[subject][: len(samples)] == samples for subject, samples in kept.items())
    run_campaign(subjects, ExactBackend(), table, protocol=quick_protocol)
    assert {record.status for record in table.records(DEVICE, subjects).values()} == {"measured"}


def add_noisy_samples(table: LatencyTable, subjects: list[Subject]) -> list[Subject]:
    """Gives the subjects samples that no further ones make stable."""
    table.add_device(DEVICE)
    campaign_id = table.start_campaign(DEVICE, protocol="{}", environment=record_environment())
    noisy = {subject: [steady_sample(value) for value in (0.01, 0.02, 0.5, 0.9)] for subject in subjects}
    table.add_samples(DEVICE, noisy, campaign_id=campaign_id)
    return subjects


@pytest.mark.parametrize(("num_noisy", "num_samples"), [(1, 8), (2, 5)])
def test_the_unstable_get_a_second_chance_unless_they_are_too_many(
    sqlite_engine: Engine,
    small_specs: tuple[BlockSpec, ...],
    quick_protocol: Protocol,
    num_noisy: int,
    num_samples: int,
) -> None:
    table, subjects = LatencyTable(sqlite_engine), list(map(Subject.of_block, small_specs))
    noisy = add_noisy_samples(table, subjects[:num_noisy])
    protocol, backend = dataclasses.replace(quick_protocol, num_always_again=0), RememberingBackend()
    run_campaign(subjects, backend, table, protocol=protocol)
    assert [len(table.samples(DEVICE, [subject])[subject]) for subject in noisy] == [num_samples] * num_noisy
    assert len(backend.prepared) == len(set(backend.prepared))  # the second chance exports nothing again


@pytest.mark.parametrize("deriving", [[KeyboardInterrupt], [None, KeyboardInterrupt]])
def test_a_campaign_killed_before_or_after_its_second_chance_has_one(
    sqlite_engine: Engine,
    small_specs: tuple[BlockSpec, ...],
    quick_protocol: Protocol,
    monkeypatch: pytest.MonkeyPatch,
    deriving: list[Any],
) -> None:
    table, subjects = LatencyTable(sqlite_engine), list(map(Subject.of_block, small_specs))
    (noisy,) = add_noisy_samples(table, subjects[:1])
    with monkeypatch.context() as context:
        context.setattr(table, "settle", Mock(side_effect=deriving))
        with pytest.raises(KeyboardInterrupt):
            run_campaign(subjects, ExactBackend(), table, protocol=quick_protocol)
    assert table.unsettled(DEVICE, "block") == set(subjects)
    for _ in range(2):
        run_campaign(subjects, ExactBackend(), table, protocol=quick_protocol)
        assert len(table.samples(DEVICE, [noisy])[noisy]) == 8
        assert table.unsettled(DEVICE, "block") == set()


def test_what_does_not_fit_is_never_tried(sqlite_engine: Engine, quick_protocol: Protocol) -> None:
    backend, table = open_backend("host-onnxruntime"), LatencyTable(sqlite_engine)
    giant = ConvSpec(in_channels=2**20, out_channels=2**20, size=8)
    run_campaign([Subject.of_block(giant)], backend, table, protocol=quick_protocol)
    assert table.coverage([giant], backend.device).does_not_fit == (giant,)
    reason = table.records(backend.device, [Subject.of_block(giant)])[Subject.of_block(giant)].reason
    assert reason is not None
    assert "MiB are free" in reason
