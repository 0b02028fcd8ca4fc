import os
import signal
from pathlib import Path
from typing import Self

import pytest

from profilers.backends.exact import ExactBackend
from profilers.backends.registry import open_backend
from profilers.device import num_usable_cores
from profilers.preparing import MIN_BLOCKS_PER_PROCESS, prepare_all
from profilers.subject import Subject
from profilers.worker_client import Worker
from search_space.errors import StorageError
from search_space.space import random_arch
from search_space.spaces import search_space
from search_space.specs import ConvSpec

MANY = max(num_usable_cores(), 2) * MIN_BLOCKS_PER_PROCESS


def paths_of(count: int, folder: Path) -> dict[Subject, Path]:
    subjects = [Subject.of_block(ConvSpec(in_channels=4, out_channels=4, size=size)) for size in range(1, count + 1)]
    return {subject: folder / subject.subject_id for subject in subjects}


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


@pytest.mark.skipif(num_usable_cores() < 2, reason="one core prepares in this process")
def test_a_few_networks_are_worth_a_process_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process_ids: list[int] = []

    class RememberedWorker(Worker):
        def __enter__(self) -> Self:
            process_ids.append(self.process_id)
            return super().__enter__()

    monkeypatch.setattr("profilers.preparing.Worker", RememberedWorker)
    subjects = [Subject.of_network(random_arch(search_space("tiny"), seed)) for seed in range(4)]
    paths = {subject: tmp_path / subject.subject_id for subject in subjects}
    assert dict(prepare_all(paths, ExactBackend(), time_limit_s=20)) == dict.fromkeys(paths)
    assert len(process_ids) == 2


def test_a_network_that_kills_its_exporter_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dying(Worker):
        def __enter__(self) -> Self:
            os.kill(self.process_id, signal.SIGKILL)
            return super().__enter__()

    monkeypatch.setattr("profilers.preparing.Worker", Dying)
    network = Subject.of_network(random_arch(search_space("tiny"), 0))
    backend = open_backend("host-onnxruntime")
    ((subject, reason),) = prepare_all({network: tmp_path / "network"}, backend, time_limit_s=20)
    assert subject == network
    assert "SIGKILL" in str(reason)


@pytest.mark.skipif(num_usable_cores() < 2, reason="one core prepares in this process")
def test_a_process_that_dies_costs_the_subject_it_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    num_started = 0

    class DyingAtFirst(Worker):
        def __enter__(self) -> Self:
            nonlocal num_started
            num_started += 1
            if num_started == 1:
                os.kill(self.process_id, signal.SIGKILL)
            return super().__enter__()

    monkeypatch.setattr("profilers.preparing.Worker", DyingAtFirst)
    paths = paths_of(MANY, tmp_path)
    outcomes = dict(prepare_all(paths, ExactBackend(), time_limit_s=20))
    reasons = [reason for reason in outcomes.values() if reason is not None]
    assert set(outcomes) == set(paths)
    assert len(reasons) == 1
    assert "SIGKILL" in reasons[0]


@pytest.mark.skipif(num_usable_cores() < 2, reason="one core prepares in this process")
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
