"""Evaluates in this process, one architecture after another: the default, and all that two cores are good for."""

from studies.executors.base import AbstractExecutor, Evaluate, Job, Outcome, run_job


class InProcessExecutor(AbstractExecutor):
    """Runs a job when its outcome is asked for."""

    num_slots = 1

    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = evaluate
        self._jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def next_outcome(self) -> Outcome:
        return run_job(self._evaluate, self._jobs.pop(0))

    def close(self) -> None:
        self._jobs.clear()
