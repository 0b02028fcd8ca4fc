"""Writes what a device's runtime opens, for many blocks at once: by a process for every core, before anything is timed.

An export imports torch and takes about 0.1 s for a block, seconds or minutes for a network: a few
blocks are prepared in this process, many blocks and every network in others. What cannot be exported, or
kills or hangs such a process, is a failure with a reason; a full disk is nobody's fault and ends the campaign,
which the same command takes up again.
"""

import contextlib
import errno
import os
import queue
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from profilers.backends.abstract import AbstractBackend
from profilers.device import num_usable_cores
from profilers.subject import Subject
from profilers.temporary_folder import FullDiskError
from profilers.worker_client import SubjectError, Worker, WorkerDiedError

MIN_BLOCKS_PER_PROCESS = 24
"""Below that a process is not worth the seconds in which it imports torch."""
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
    waiting: queue.SimpleQueue[tuple[Subject, Path]] = queue.SimpleQueue()
    outcomes: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
    for item in paths.items():
        waiting.put(item)
    arguments = (waiting, outcomes, backend.device.name, time_limit_s)
    num_processes = max(num_processes, 1)
    with ThreadPoolExecutor(num_processes) as threads:
        for _ in range(num_processes):
            threads.submit(_prepare_elsewhere, *arguments).add_done_callback(partial(_pass_on, outcomes))
        try:
            for _ in paths:
                outcome = outcomes.get()
                if isinstance(outcome, BaseException):
                    raise outcome
                yield outcome
        finally:
            _drain(waiting)


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
    waiting: "queue.SimpleQueue[tuple[Subject, Path]]",
    outcomes: "queue.SimpleQueue[Outcome | BaseException]",
    device_name: str,
    time_limit_s: float,
) -> None:
    """Works off the queue with one process, and with another whenever a subject has killed it."""
    while not waiting.empty():
        with contextlib.suppress(queue.Empty), Worker(device_name, time_limit_s=time_limit_s) as worker:
            is_alive = True
            while is_alive:
                subject, path = waiting.get_nowait()
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
    if os.strerror(errno.ENOSPC) not in reason and shutil.disk_usage(path.parent).free >= _MIN_FREE_BYTES:
        return None
    return FullDiskError(
        f"the disk that holds {path.parent.parent} is full; what was measured so far is kept",
        fix="make room, or set TMPDIR to a folder on another disk, and run the same command again",
    )


def _drain(waiting: "queue.SimpleQueue[tuple[Subject, Path]]") -> None:
    """Leaves nothing to do for the threads, which end after the subject they are at."""
    with contextlib.suppress(queue.Empty):
        while True:
            waiting.get_nowait()
