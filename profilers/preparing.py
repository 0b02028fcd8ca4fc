"""Writes what a device's runtime opens, for many blocks at once: by a process for every core, before anything is timed.

An export imports torch and takes about 0.1 s for a block, seconds or minutes for a network: a few
blocks are prepared in this process, many blocks and every network in others, as many as there is memory for. What
cannot be exported, or kills or hangs such a process, is a failure with a reason; what perhaps lacked memory beside
others is tried again after them. A full disk is nobody's fault and ends the campaign, which the same command takes up
again.
"""

import contextlib
import errno
import os
import queue
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from profilers.backends.abstract import AbstractBackend
from profilers.device import num_usable_cores
from profilers.memory import Footprint, available_bytes, lacks_memory
from profilers.needed_memory import needed_bytes
from profilers.subject import Subject
from profilers.temporary_folder import FullDiskError
from profilers.worker_client import SubjectError, Worker, WorkerDiedError

MIN_BLOCKS_PER_PROCESS = 24
"""Below that a process is not worth the seconds in which it imports torch."""
EXPORTER_BYTES = 2 * 2**30
"""What an exporting process holds beside its subject: torch, and what it keeps of those before, in ExecuTorch 0.2 GiB
of every network."""
_NETWORKS_PER_PROCESS = 8  # then a fresh one takes over, which keeps nothing
_BLOCKS_PER_NETWORK = 12  # how many blocks are exported while a network is, at least
_MIN_FREE_BYTES = 2**20

Outcome = tuple[Subject, str | None]
"""A subject that was tried, and why it failed, if it did."""


def prepare_all(paths: Mapping[Subject, Path], backend: AbstractBackend, *, time_limit_s: float) -> Iterator[Outcome]:
    """Prepares every subject at its path.

    Raises:
        FullDiskError: The disk is full.
    """
    num_networks = sum(subject.kind == "network" for subject in paths)
    num_blocks = len(paths) - num_networks + _BLOCKS_PER_NETWORK * num_networks
    num_processes = min(num_usable_cores(), num_blocks // MIN_BLOCKS_PER_PROCESS)
    if num_processes < 2 and (num_networks == 0 or backend.device.is_estimate):
        for subject, path in paths.items():
            yield subject, _prepare_here(subject, path, backend)
        return
    num_processes = max(min(num_processes, _num_fitting(paths)), 1)
    crowded_out: dict[Subject, Path] = {}
    for subject, reason in _prepare_elsewhere(paths, backend, num_processes=num_processes, time_limit_s=time_limit_s):
        if reason is not None and lacks_memory(reason):
            crowded_out[subject] = paths[subject]
        else:
            yield subject, reason
    yield from _prepare_elsewhere(crowded_out, backend, num_processes=1, time_limit_s=time_limit_s)


def _num_fitting(subjects: Iterable[Subject]) -> int:
    """How many exporting processes the memory holds, each at the largest subject."""
    free_bytes = available_bytes()
    if free_bytes is None:
        return num_usable_cores()
    return free_bytes // (EXPORTER_BYTES + max(needed_bytes(subject, Footprint()) for subject in subjects))


def _prepare_here(subject: Subject, path: Path, backend: AbstractBackend) -> str | None:
    try:
        backend.prepare(subject, path)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        if full_disk := full_disk_error(path, reason):
            raise full_disk from error
        return reason
    return None


def _prepare_elsewhere(
    paths: Mapping[Subject, Path], backend: AbstractBackend, *, num_processes: int, time_limit_s: float
) -> Iterator[Outcome]:
    """Prepares with so many processes at once, which end with this generator, whatever they are at."""
    waiting: queue.SimpleQueue[tuple[Subject, Path]] = queue.SimpleQueue()
    outcomes: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
    workers: list[Worker] = []
    for item in paths.items():
        waiting.put(item)
    arguments = (waiting, outcomes, workers, backend.device.name, time_limit_s)
    with ThreadPoolExecutor(num_processes) as threads:
        try:
            for _ in range(num_processes):
                threads.submit(_work_off, *arguments).add_done_callback(partial(_pass_on, outcomes))
            for _ in paths:
                outcome = outcomes.get()
                if isinstance(outcome, BaseException):
                    raise outcome
                yield outcome
        finally:
            _drain(waiting)
            for worker in workers:
                worker.interrupt()


def _work_off(
    waiting: "queue.SimpleQueue[tuple[Subject, Path]]",
    outcomes: "queue.SimpleQueue[Outcome | BaseException]",
    workers: list[Worker],
    device_name: str,
    time_limit_s: float,
) -> None:
    """Works off the queue with one process at a time, which it adds to the list before it takes a subject.

    Another one takes over when a subject has killed it, or when it may have grown.
    """
    while not waiting.empty():
        with contextlib.suppress(queue.Empty), Worker(device_name, time_limit_s=time_limit_s) as worker:
            workers.append(worker)
            is_alive, num_networks = True, 0
            while is_alive and num_networks < _NETWORKS_PER_PROCESS:
                subject, path = waiting.get_nowait()
                num_networks += subject.kind == "network"
                try:
                    worker.prepare(subject, path=path)
                    outcomes.put((subject, None))
                except (SubjectError, WorkerDiedError) as error:
                    is_alive = isinstance(error, SubjectError)
                    if full_disk := full_disk_error(path, str(error)):
                        raise full_disk from error
                    outcomes.put((subject, str(error)))


def _pass_on(outcomes: "queue.SimpleQueue[Outcome | BaseException]", task: "Future[None]") -> None:
    """Lets an error that ended a thread end the campaign, which would wait for its outcomes for ever."""
    if error := task.exception():
        outcomes.put(error)


def full_disk_error(path: Path, reason: str) -> FullDiskError | None:
    """The error to end with, if a full disk is why a subject failed; not every library tells it by its number."""
    is_told = any(os.strerror(number) in reason for number in (errno.ENOSPC, errno.EDQUOT))
    if not is_told and shutil.disk_usage(path.parent).free >= _MIN_FREE_BYTES:
        return None
    return FullDiskError.at(path.parent.parent)


def _drain(waiting: "queue.SimpleQueue[tuple[Subject, Path]]") -> None:
    """Leaves nothing to do for the threads, which end after the subject they are at."""
    with contextlib.suppress(queue.Empty):
        while True:
            waiting.get_nowait()
