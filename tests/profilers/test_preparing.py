import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import ClassVar, Self, cast
from unittest.mock import Mock

import pytest

from profilers.backends.exact import ExactBackend
from profilers.backends.registry import open_backend
from profilers.memory import Footprint
from profilers.needed_memory import needed_bytes
from profilers.preparing import EXPORTER_BYTES, MIN_BLOCKS_PER_PROCESS, Outcome, prepare_all
from profilers.subject import Subject
from profilers.worker_client import Worker
from search_space.errors import StorageError
from search_space.space import random_arch
from search_space.spaces import search_space
from search_space.specs import ConvSpec

MANY = 2 * MIN_BLOCKS_PER_PROCESS
NETWORKS = [Subject.of_network(random_arch(search_space("tiny"), seed)) for seed in range(4)]
NETWORK_BYTES = EXPORTER_BYTES + max(needed_bytes(network, Footprint()) for network in NETWORKS)


@pytest.fixture(autouse=True)
def cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much as the tests need, whatever the machine has."""
    monkeypatch.setattr("profilers.preparing.num_usable_cores", lambda: 2)
    monkeypatch.setattr("profilers.preparing.available_bytes", lambda: None)


def paths_of(count: int, folder: Path) -> dict[Subject, Path]:
    subjects = [Subject.of_block(ConvSpec(in_channels=4, out_channels=4, size=size)) for size in range(1, count + 1)]
    return {subject: folder / subject.subject_id for subject in subjects}


class RememberedWorker(Worker):
    """Is in a list when it starts, and gets the signal of its place there."""

    started: ClassVar[list[Self]] = []
    signals: ClassVar[dict[int, signal.Signals]] = {}

    def __enter__(self) -> Self:
        if (number := self.signals.get(len(self.started))) is not None:
            os.kill(self.process_id, number)
        self.started.append(self)
        return super().__enter__()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[RememberedWorker]:
    """The processes that prepare, in the order in which they start."""
    monkeypatch.setattr("profilers.preparing.Worker", RememberedWorker)
    monkeypatch.setattr(RememberedWorker, "started", [])
    monkeypatch.setattr(RememberedWorker, "signals", {})
    return RememberedWorker.started


class WritingBackend(ExactBackend):
    """Writes to a device file on which every byte is one too many."""

    def prepare(self, subject: Subject, path: Path) -> None:
        path.symlink_to("/dev/full")
        path.write_bytes(b"weights")


@pytest.mark.parametrize("count", [1, MANY])
def test_every_subject_is_prepared_once_here_or_elsewhere(tmp_path: Path, count: int) -> None:
    paths = paths_of(count, tmp_path)
    outcomes = list(prepare_all(paths, ExactBackend(), time_limit_s=20))
    assert dict(outcomes) == dict.fromkeys(paths)
    assert len(outcomes) == count


@pytest.mark.parametrize(
    ("free_bytes", "num_processes"), [(None, 2), (2 * NETWORK_BYTES, 2), (2 * NETWORK_BYTES - 1, 1)]
)
def test_a_few_networks_are_worth_processes_of_which_memory_holds_so_many(
    tmp_path: Path,
    started: list[RememberedWorker],
    monkeypatch: pytest.MonkeyPatch,
    free_bytes: int | None,
    num_processes: int,
) -> None:
    monkeypatch.setattr("profilers.preparing.num_usable_cores", lambda: 8)
    monkeypatch.setattr("profilers.preparing.available_bytes", lambda: free_bytes)
    paths = {network: tmp_path / network.subject_id for network in NETWORKS}
    assert dict(prepare_all(paths, ExactBackend(), time_limit_s=20)) == dict.fromkeys(paths)
    assert len(started) == num_processes


def test_a_process_that_may_have_grown_gives_way_to_a_new_one(
    tmp_path: Path, started: list[RememberedWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profilers.preparing.available_bytes", lambda: 0)
    monkeypatch.setattr("profilers.preparing._NETWORKS_PER_PROCESS", 3)
    paths = {network: tmp_path / network.subject_id for network in NETWORKS}
    assert dict(prepare_all(paths, ExactBackend(), time_limit_s=20)) == dict.fromkeys(paths)
    assert len(started) == 2


def test_a_network_that_kills_its_exporter_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dying(Worker):
        def __enter__(self) -> Self:
            os.kill(self.process_id, signal.SIGKILL)
            return super().__enter__()

    monkeypatch.setattr("profilers.preparing.Worker", Dying)
    backend = open_backend("host-onnxruntime")
    ((subject, reason),) = prepare_all({NETWORKS[0]: tmp_path / "network"}, backend, time_limit_s=20)
    assert subject == NETWORKS[0]
    assert "SIGKILL" in str(reason)


@pytest.mark.parametrize(("number", "num_failed"), [(signal.SIGSEGV, 1), (signal.SIGKILL, 0)])
def test_a_process_that_dies_costs_the_subject_it_prepared_unless_that_may_have_lacked_memory(
    tmp_path: Path, started: list[RememberedWorker], number: signal.Signals, num_failed: int
) -> None:
    RememberedWorker.signals = {0: number}
    paths = paths_of(MANY, tmp_path)
    outcomes = list(prepare_all(paths, ExactBackend(), time_limit_s=20))
    assert len(outcomes) == len(paths)
    reasons = [reason for reason in dict(outcomes).values() if reason is not None]
    assert set(dict(outcomes)) == set(paths)
    assert len(reasons) == num_failed
    assert all(f"exit code {-number}" in reason for reason in reasons)
    assert len(started) >= 3


def test_an_interrupt_waits_for_no_export(
    tmp_path: Path, started: list[RememberedWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    has_hung = Mock(side_effect=Worker.interrupt)
    monkeypatch.setattr(Worker, "_kill_hung", lambda worker, _: has_hung(worker))
    RememberedWorker.signals = {0: signal.SIGSTOP}
    outcomes = prepare_all(paths_of(MANY, tmp_path), ExactBackend(), time_limit_s=5)
    next(outcomes)
    cast(Generator[Outcome], outcomes).close()
    assert len(started) == 2
    assert not has_hung.called


def test_an_error_of_our_own_ends_it_instead_of_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unstartable(Worker):
        def __enter__(self) -> Self:
            self.kill()
            raise OSError("no more processes")

    monkeypatch.setattr("profilers.preparing.Worker", Unstartable)
    with pytest.raises(OSError, match="no more processes"):
        list(prepare_all(paths_of(MANY, tmp_path), ExactBackend(), time_limit_s=20))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_a_full_disk_is_nobodys_failure_and_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="TMPDIR") as caught:
        list(prepare_all(paths_of(1, tmp_path), WritingBackend(), time_limit_s=20))
    assert str(caught.value).count("\n") <= 2
