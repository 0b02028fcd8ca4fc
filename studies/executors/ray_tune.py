"""Evaluates on Ray: Tune places the evaluations on a machine or a cluster, the driver keeps ask and tell.

Tune's own Optuna search leaves a trial running for ever when its value is NaN, and keeps its state in a pickle. Here
Tune is given only finished proposals: a searcher without ideas of its own hands the driver's jobs over, one at a time,
and takes the results back. Tune runs in a thread; its folder is thrown away, since nothing in it is needed again.
"""

import logging
import os
import queue
import tempfile
import threading
from pathlib import Path
from typing import Any, cast

import ray
from ray import tune
from ray.tune.search import Searcher

from search_space.command_line import handle_signals
from search_space.errors import UsageError
from studies.executors.base import AbstractExecutor, Evaluate, Job, Outcome, run_job
from studies.results import Failure

LOCAL = "local"

_OUTCOME = "outcome"
_NUM_SAMPLES = 10**9  # Tune ends when the searcher says so
_CLOSING_TIMEOUT_S = 5.0  # a stopped run ends within ten seconds; what still runs then goes down with Ray


class RayTuneExecutor(AbstractExecutor):
    """One Tune experiment that lasts as long as the search."""

    def __init__(self, evaluate: Evaluate, *, num_workers: int, address: str = LOCAL) -> None:
        """Connects, and starts the experiment.

        Args:
            evaluate: What the workers run.
            num_workers: How many evaluations at a time, each on one processor.
            address: "local" for a Ray of our own, "auto" or `host:port` for one that runs.
        """
        self.num_slots = num_workers
        _connect(address, num_workers=num_workers)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        self._folder = tempfile.TemporaryDirectory(prefix="snapnas-ray-", ignore_cleanup_errors=True)
        self._thread = threading.Thread(target=self._run, args=(evaluate,), name="ray-tune", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        self._jobs.put(job)

    def next_outcome(self) -> Outcome:
        outcome = self._outcomes.get()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join(_CLOSING_TIMEOUT_S)
        ray.shutdown()
        self._folder.cleanup()

    def _run(self, evaluate: Evaluate) -> None:
        """The thread: Tune from the first job to the last."""

        def evaluate_in_tune(config: dict[str, Any]) -> None:
            outcome = run_job(evaluate, Job.from_json(config["job"]))
            tune.report({_OUTCOME: outcome.to_json()})

        try:
            tuner = tune.Tuner(
                tune.with_resources(evaluate_in_tune, {"cpu": 1}),
                tune_config=tune.TuneConfig(
                    search_alg=_Postman(self._jobs, self._outcomes),
                    num_samples=_NUM_SAMPLES,
                    max_concurrent_trials=self.num_slots,
                    trial_dirname_creator=lambda trial: str(trial.trial_id),  # or the architecture is in the path
                ),
                run_config=tune.RunConfig(
                    storage_path=str(Path(self._folder.name)),
                    name="evaluations",
                    verbose=0,
                    failure_config=tune.FailureConfig(max_failures=0),
                    checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
                ),
            )
            tuner.fit()
        except Exception as error:  # noqa: BLE001 - carried over to the driver, which waits for an outcome
            self._outcomes.put(error)


class _Postman(Searcher):
    """Hands over the driver's jobs and brings back what came of them; proposes nothing."""

    def __init__(
        self, jobs: "queue.SimpleQueue[Job | None]", outcomes: "queue.SimpleQueue[Outcome | BaseException]"
    ) -> None:
        super().__init__(metric=_OUTCOME, mode="max")
        self._jobs = jobs
        self._outcomes = outcomes
        self._numbers: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune writes its parts down for a restoration that never comes, and queues cannot be written

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        try:
            job = self._jobs.get_nowait()
        except queue.Empty:
            return None
        if job is None:
            return cast("dict[str, Any]", Searcher.FINISHED)  # a string, whatever the base class's types say
        self._numbers[trial_id] = job.number
        return {"job": job.to_json()}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        number = self._numbers.pop(trial_id)
        if error or result is None or _OUTCOME not in result:
            failure = Failure(type="WorkerDied", message="the Ray worker died before it had a result")
            self._outcomes.put(Outcome(number=number, result=failure))
        else:
            self._outcomes.put(Outcome.from_json(result[_OUTCOME]))

    def save(self, checkpoint_path: str) -> None:
        pass  # the driver's database is the only state

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("an experiment of Tune is never restored; the study is resumed")


def _connect(address: str, *, num_workers: int) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the default that Ray announces to change to
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # or Tune prints tables on stdout, where only our JSON belongs
    for name in ("ray.tune", "ray.air"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the driver says which trial failed, and why
    try:
        if address == LOCAL:
            ray.init(
                address=LOCAL,
                num_cpus=num_workers,
                include_dashboard=False,
                configure_logging=False,
                log_to_driver=False,
            )
        else:
            ray.init(address=address, configure_logging=False, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"no Ray answers at {address!r}: {str(error).splitlines()[0]}",
            allowed="auto or host:port of a running Ray, or --ray alone for one of our own",
        ) from error
    finally:
        handle_signals()  # ray.init puts its own handler in place of ours
