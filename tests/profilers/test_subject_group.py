import contextlib
import dataclasses
import errno
import itertools
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, Self
from unittest.mock import ANY

import pytest
from sqlalchemy import Engine

from profilers.backends.exact import ExactBackend
from profilers.backends.registry import open_backend
from profilers.bundling.run_bundle import ThermalState
from profilers.campaign import run_campaign
from profilers.device import Device
from profilers.environment import unknown_environment
from profilers.latency_table import LatencyTable
from profilers.load_report import LoadReport
from profilers.needed_memory import counts_of
from profilers.protocol import Protocol
from profilers.subject import Subject
from profilers.temporary_folder import FullDiskError
from profilers.worker_client import SubjectError, Worker
from search_space.space import random_arch
from search_space.spaces import search_space
from search_space.specs import BlockSpec, ConvSpec, NormOutSpec
from tests.profilers.samples import steady_sample

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


@contextlib.contextmanager
def _first_worker_gets(
    sent: signal.Signals, process_ids: list[int], table: LatencyTable, subject: Subject
) -> Iterator[None]:
    """Signals the first measuring process once the subject has a sample."""

    def send() -> None:
        while not table.samples(DEVICE, [subject]):
            time.sleep(0.01)
        os.kill(process_ids[0], sent)

    sender = threading.Thread(target=send)
    sender.start()
    yield
    sender.join()


def test_a_worker_that_is_killed_costs_at_most_the_block_it_worked_on(
    sqlite_engine: Engine, process_ids: list[int]
) -> None:
    specs = [ConvSpec(in_channels=4, out_channels=4, size=size) for size in range(4, 14)]
    table, protocol = LatencyTable(sqlite_engine), Protocol(min_rounds=30, max_rounds=30, num_calibration_probes=3)
    with _first_worker_gets(signal.SIGKILL, process_ids, table, Subject.of_block(specs[0])):
        run_campaign([Subject.of_block(spec) for spec in specs], ExactBackend(), table, protocol=protocol)
    coverage = table.coverage(specs, DEVICE)
    assert len(process_ids) == 2
    assert len(coverage.failed) <= 1
    assert len(coverage.present) + len(coverage.failed) == len(specs)
    for spec in coverage.failed:
        reason = table.records(DEVICE, [Subject.of_block(spec)])[Subject.of_block(spec)].reason
        assert reason is not None
        assert "SIGKILL" in reason


def test_every_network_has_a_look_at_the_sentinel_on_either_side(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots: list[int] = []

    class WatchedWorker(Worker):
        def sample(self, slot: int) -> tuple[float, float]:
            slots.append(slot)
            return super().sample(slot)

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
    with _first_worker_gets(signal.SIGSTOP, process_ids, table, Subject.of_block(specs[0])):
        run_campaign([Subject.of_block(spec) for spec in specs], ExactBackend(), table, protocol=protocol)
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


def test_what_finds_no_memory_beside_others_is_loaded_again_beside_fewer(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = [ConvSpec(in_channels=4, out_channels=4, size=size) for size in range(4, 10)]
    num_loaded: list[int] = []

    class SmallWorker(Worker):
        """Holds the sentinel and four blocks. Whoever asks for more is killed at first, and refused later."""

        def __enter__(self) -> Self:
            num_loaded.append(0)
            return super().__enter__()

        def load(self, subject: Subject, *, slot: int, path: Path) -> tuple[int, LoadReport]:
            if num_loaded[-1] == 5 and len(num_loaded) > 1:
                raise SubjectError("OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.")
            if num_loaded[-1] == 5:
                os.kill(self.process_id, signal.SIGKILL)
            loaded = super().load(subject, slot=slot, path=path)
            num_loaded[-1] += 1
            return loaded

    monkeypatch.setattr("profilers.subject_group.Worker", SmallWorker)
    table, protocol = LatencyTable(sqlite_engine), Protocol(min_rounds=2, max_rounds=2, num_calibration_probes=1)
    run_campaign(list(map(Subject.of_block, specs)), ExactBackend(), table, protocol=protocol)
    assert len(table.coverage(specs, DEVICE).present) == len(specs)
    assert num_loaded[:2] == [5, 2]  # the fifth block is tried alone
    assert len(num_loaded) <= 8


@pytest.mark.parametrize("num_others", [0, 3])
def test_what_finds_no_memory_alone_has_failed_and_the_others_stay_together(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch, num_others: int
) -> None:
    specs = [ConvSpec(in_channels=4, out_channels=4, size=size) for size in range(4, 5 + num_others)]
    giant, others = Subject.of_block(specs[-1]), specs[:-1]
    num_tries = 0
    processes: defaultdict[int, list[Subject]] = defaultdict(list)

    class DyingAtLoading(Worker):
        def load(self, subject: Subject, *, slot: int, path: Path) -> tuple[int, LoadReport]:
            nonlocal num_tries
            processes[self.process_id].append(subject)
            if subject == giant:
                num_tries += 1
                os.kill(self.process_id, signal.SIGKILL)
            return super().load(subject, slot=slot, path=path)

    monkeypatch.setattr("profilers.subject_group.Worker", DyingAtLoading)
    table, protocol = LatencyTable(sqlite_engine), Protocol(min_rounds=2, max_rounds=2, num_calibration_probes=1)
    run_campaign(list(map(Subject.of_block, specs)), ExactBackend(), table, protocol=protocol)
    coverage = table.coverage(specs, DEVICE)
    assert coverage.failed == (specs[-1],)
    assert coverage.present == tuple(others)
    assert "lack of memory" in str(table.records(DEVICE, [giant])[giant].reason)
    assert num_tries == (2 if others else 1)
    assert len(processes) == (3 if others else 1)  # the giant beside others, the giant alone, the others together


def test_a_short_turn_has_company(sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    ring_sizes = set()

    class RingWorker(Worker):
        def samples_in_turn(self, slots: Sequence[int], **options: Any) -> tuple[list[float], float]:
            ring_sizes.add(len(set(slots)))
            return super().samples_in_turn(slots, **options)

    monkeypatch.setattr("profilers.subject_group.Worker", RingWorker)
    subjects = [Subject.of_block(ConvSpec(in_channels=4, out_channels=4, size=size)) for size in range(4, 8)]
    protocol = Protocol(
        min_rounds=2,
        max_rounds=2,
        num_calibration_probes=1,
        sentinel_every=4,
        max_group_bytes=2 * counts_of(subjects[0]).weight_bytes,
    )
    run_campaign(subjects, UnsureBackend(), LatencyTable(sqlite_engine), protocol=protocol)
    assert ring_sizes == {4}


class UnsureBackend(ExactBackend):
    """The device `exact` without the word that it is an estimate: like any other it has a memory, and company."""

    @property
    def device(self) -> Device:
        return dataclasses.replace(super().device, is_estimate=False)


@pytest.mark.parametrize("is_loaded", [True, False])
def test_a_latency_outlives_a_second_chance_in_which_it_fails(
    sqlite_engine: Engine, quick_protocol: Protocol, monkeypatch: pytest.MonkeyPatch, is_loaded: bool
) -> None:
    class RefusingWorker(Worker):
        def load(self, subject: Subject, *, slot: int, path: Path) -> tuple[int, LoadReport]:
            if subject == noisy:
                raise SubjectError("a bad day")
            return super().load(subject, slot=slot, path=path)

    backend, table = UnsureBackend(), LatencyTable(sqlite_engine)
    noisy = Subject.of_block(ConvSpec(in_channels=4, out_channels=4, size=4))
    table.add_device(backend.device)
    campaign_id = table.start_campaign(backend.device, protocol="{}", environment=unknown_environment())
    samples = [steady_sample(value) for value in (0.01, 0.02, 0.5, 0.9)]
    table.add_samples(backend.device, {noisy: samples}, campaign_id=campaign_id)
    table.finish(backend.device, [noisy])
    before = table.records(backend.device, [noisy])[noisy]
    monkeypatch.setattr("profilers.subject_group.Worker", RefusingWorker)
    if not is_loaded:
        monkeypatch.setattr("profilers.subject_group.reason_not_to_fit", lambda *_: "another program took it")
    run_campaign([noisy], backend, table, protocol=quick_protocol)
    assert table.records(backend.device, [noisy])[noisy] == dataclasses.replace(
        before, is_settled=True, finished_at=ANY
    )
    assert before.status == "unstable"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_while_a_block_is_loaded_is_not_its_failure(
    sqlite_engine: Engine, quick_protocol: Protocol, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    block = Subject.of_block(ConvSpec(in_channels=4, out_channels=4, size=4))

    class FullDiskWorker(Worker):
        def load(self, subject: Subject, *, slot: int, path: Path) -> tuple[int, LoadReport]:
            if subject == block:
                raise SubjectError(f"InductorError: {OSError(number, os.strerror(number))}")
            return super().load(subject, slot=slot, path=path)

    monkeypatch.setattr("profilers.subject_group.Worker", FullDiskWorker)
    table = LatencyTable(sqlite_engine)
    with pytest.raises(FullDiskError):
        run_campaign([block], ExactBackend(), table, protocol=quick_protocol)
    assert table.records(DEVICE, [block]) == {}


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


def test_what_does_not_fit_is_never_tried(sqlite_engine: Engine, quick_protocol: Protocol) -> None:
    backend, table = open_backend("host-onnxruntime"), LatencyTable(sqlite_engine)
    giant = ConvSpec(in_channels=2**20, out_channels=2**20, size=8)
    run_campaign([Subject.of_block(giant)], backend, table, protocol=quick_protocol)
    assert table.coverage([giant], backend.device).does_not_fit == (giant,)
    reason = table.records(backend.device, [Subject.of_block(giant)])[Subject.of_block(giant)].reason
    assert reason is not None
    assert "MiB are free" in reason
