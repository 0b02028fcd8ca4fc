"""Evaluates in several processes of this machine: for more cores, or GPUs, than one training can use.

Each worker is spawned, never forked (a fork would share the database's connections and torch's threads), and speaks
JSON through a pipe. A worker that dies, for one because the system ran out of memory, costs its trial and is replaced.
"""

import multiprocessing
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from studies.executors.base import AbstractExecutor, Evaluate, Job, Outcome, run_job
from studies.results import Failure

_STOP = ""
_GRACE_S = 2.0


@dataclass(kw_only=True)
class _Worker:
    """One process and what it is busy with."""

    process: BaseProcess
    connection: Connection
    number: int | None = None
    """Of the trial it evaluates; None while it waits."""


class ProcessExecutor(AbstractExecutor):
    """A worker process for every slot."""

    def __init__(self, evaluate: Evaluate, *, num_workers: int) -> None:
        """Prepares the slots; the processes start with their first job.

        Args:
            evaluate: What the workers run; sent to them once, when they start.
            num_workers: How many.
        """
        self.num_slots = num_workers
        self._evaluate = evaluate
        self._workers: list[_Worker] = []

    def submit(self, job: Job) -> None:
        worker = next((worker for worker in self._workers if worker.number is None), None)
        if worker is None:
            worker = self._start_worker()
        worker.number = job.number
        worker.connection.send(job.to_json())

    def next_outcome(self) -> Outcome:
        busy = {worker.connection: worker for worker in self._workers if worker.number is not None}
        ready = wait(list(busy))[0]  # a dead worker's connection is ready too, at its end
        assert isinstance(ready, Connection)
        worker = busy[ready]
        assert worker.number is not None
        try:
            outcome = Outcome.from_json(ready.recv())
        except (EOFError, ConnectionError):
            outcome = Outcome(number=worker.number, result=self._bury(worker))
        worker.number = None
        return outcome

    def close(self) -> None:
        for worker in self._workers:
            if worker.number is None and worker.process.is_alive():
                worker.connection.send(_STOP)
            else:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(_GRACE_S)
            worker.process.kill()
            worker.process.join()
            worker.connection.close()
        self._workers.clear()

    def _start_worker(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(self._evaluate, theirs), daemon=True)
        process.start()
        theirs.close()
        worker = _Worker(process=process, connection=ours)
        self._workers.append(worker)
        return worker

    def _bury(self, worker: _Worker) -> Failure:
        worker.process.join()
        worker.connection.close()
        self._workers.remove(worker)
        code = worker.process.exitcode or 0
        if code == -signal.SIGKILL:
            return Failure(type="WorkerDied", message="the worker was killed by signal 9, likely out of memory")
        return Failure(type="WorkerDied", message=f"the worker ended with exit code {code}")


def _work(evaluate: Evaluate, connection: Connection) -> None:
    """The worker's life: a job in, an outcome out, until it is told to stop or nobody is there any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver ends us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        while (text := connection.recv()) != _STOP:
            connection.send(run_job(evaluate, Job.from_json(text)).to_json())
    except (EOFError, ConnectionError):
        pass
