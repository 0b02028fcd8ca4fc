"""The search: one ask/tell driver owns every trial, whoever evaluates them.

    ask -> architecture -> latency -> within the budget? -> known already? -> evaluate -> finite? -> tell

An architecture above the latency budget is told to the sampler as pruned, with the share by which it is above, before
any training is spent: TPE orders such trials by that share, while a failure would teach it nothing. An architecture
that was evaluated before takes over its result. What fails is kept with its reason, and the study goes on; the same
architecture would fail again, so its later trials take over the failure.

Our row of a trial is written before Optuna is told. So when a run is killed at any moment, the next one finds every
trial that Optuna still calls running, and the row says whether only the telling is missing or the trial was lost; a
lost one is failed and its parameters are tried again.
"""

import logging
import math
from pathlib import Path

import optuna
from optuna.trial import TrialState as OptunaState
from sqlalchemy import Engine

from profilers.estimating import BlockLatencies, CannotRunError, LatencyEstimate
from search_space.arch import ArchConfig
from search_space.errors import SnapNASError
from search_space.progress import AbstractBar, progress
from search_space.space import decisions_of, random_arch, suggest_arch
from studies.config import StudyConfig
from studies.executors.base import AbstractExecutor, Job, Outcome
from studies.optuna_study import LATENCY_CONSTRAINT, sampler_for, storage_errors
from studies.results import Failure, StudyReader, TrialRecord, TrialResult
from studies.writer import StudyWriter

logger = logging.getLogger(__name__)

NOT_EVALUATED = ("Lost", "Interrupted")
"""Failures that say nothing about the architecture: it is tried again, and the trial does not count."""

_MAX_RANDOM_DRAWS = 1000
_CANNOT_RUN_VIOLATION = 1.0  # of a network that the device cannot run: as bad as twice the budget


def is_evaluated(record: TrialRecord) -> bool:
    """Whether a trial counts as one of the study's evaluations."""
    return record.state == "complete" or (_has_failed(record) and record.duplicate_of is None)


def _has_failed(record: TrialRecord) -> bool:
    """Whether a trial failed for a reason that its architecture shares the blame of, as far as anyone knows."""
    return record.failure is not None and record.state == "failed" and record.failure.type not in NOT_EVALUATED


class SearchDriver:
    """Runs a study's search until enough architectures were evaluated. Make a new one to resume."""

    def __init__(
        self,
        config: StudyConfig,
        *,
        study: optuna.Study,
        engine: Engine,
        latencies: BlockLatencies,
        latency_budget_ms: float | None,
        executor: AbstractExecutor,
        workspace: Path,
    ) -> None:
        """Takes up a study where it stands.

        Args:
            config: What to search.
            study: From `open_optuna_study`.
            engine: The same database, for the latency table and the results.
            latencies: Of every block of the space, on the device whose latency counts.
            latency_budget_ms: The most an architecture may take; None without a limit.
            executor: Evaluates; the caller closes it.
            workspace: Where the files are that an evaluation leaves.
        """
        self._config = config
        self._study = study
        self._engine = engine
        self._latencies = latencies
        self._latency_budget_ms = latency_budget_ms
        self._executor = executor
        self._workspace = workspace
        self._space = config.search_space
        self._writer = StudyWriter(engine, study.study_name)
        self._reader = StudyReader(engine)
        self._evaluated: dict[str, int] = {}
        """arch_id -> the trial that evaluated it."""
        self._failed: dict[str, int] = {}
        """arch_id -> the trial that failed with it."""
        self._tried: set[str] = set()
        """Every arch_id that was ever proposed."""
        self._in_flight: dict[int, str] = {}
        """Number of a trial that is being evaluated -> its arch_id."""
        self._followers: dict[int, list[int]] = {}
        """Number of a trial in flight -> later trials of the same architecture, which wait for its result."""
        self._num_evaluated = 0
        self._num_failures_in_row = 0
        self._num_duplicates_in_row = 0
        self._num_infeasible_in_row = 0

    def run(self) -> None:
        """Searches; returns when enough is evaluated, or when there is nothing left to propose.

        Raises:
            SnapNASError: Too many trials failed one after another.
            StorageError: The database is gone.
        """
        with storage_errors(self._engine):
            self._release_running(Failure(type="Lost", message="the run that evaluated it was killed"))
            self._remember()
            try:
                self._search()
            except BaseException as stop:
                # Ctrl-C and SIGTERM as well: no trial stays running, and what was in flight is tried again.
                message = f"the run was stopped by {type(stop).__name__}"
                self._release_running(Failure(type="Interrupted", message=message))
                raise

    def _search(self) -> None:
        num_trials = self._config.num_trials
        with progress(
            "searching", total=num_trials, unit="trial", completed=min(self._num_evaluated, num_trials)
        ) as bar:
            while True:
                while len(self._in_flight) < self._executor.num_slots and self._num_begun < num_trials:
                    if not self._propose():
                        break
                if not self._in_flight:
                    return
                self._settle(self._executor.next_outcome(), bar)

    @property
    def _num_begun(self) -> int:
        return self._num_evaluated + len(self._in_flight)

    # Before the evaluation

    def _propose(self) -> bool:
        """Asks until an architecture is worth evaluating and hands it to the executor; False if none can be found."""
        while self._num_infeasible_in_row < self._config.max_infeasible_in_row:
            if self._num_duplicates_in_row >= self._config.max_duplicates_in_row and not self._enqueue_untried():
                logger.info("every architecture that could be drawn was tried; the search ends early")
                return False
            self._study.sampler = sampler_for(self._config, len(self._study.get_trials(deepcopy=False)))
            trial = self._study.ask()
            arch = suggest_arch(trial, self._space)
            if self._is_new_and_feasible(trial, arch):
                self._in_flight[trial.number] = arch.arch_id
                self._executor.submit(Job(number=trial.number, arch=arch))
                return True
        logger.info("%d architectures in a row break the latency budget; the search ends", self._num_infeasible_in_row)
        return False

    def _is_new_and_feasible(self, trial: optuna.Trial, arch: ArchConfig) -> bool:
        """Writes the trial down; ends it here if it is known already or cannot be a solution."""
        is_repeated = arch.arch_id in self._tried
        self._tried.add(arch.arch_id)
        latency, violation, failure = self._latency(arch)
        if violation is not None:
            trial.set_constraint(LATENCY_CONSTRAINT, violation)
        self._writer.start_trial(trial.number, arch, estimate=latency, violation=violation, seed=self._config.seed)
        if violation is not None and violation > 0:
            self._writer.reject_trial(trial.number, failure)
            self._tell(trial.number)
            self._num_infeasible_in_row += 1
            self._num_duplicates_in_row += is_repeated
            return False
        self._num_infeasible_in_row = 0
        original = self._evaluated.get(arch.arch_id)
        if original is not None:
            self._num_duplicates_in_row += 1
            self._copy(trial.number, original)
            return False
        if arch.arch_id in self._failed:
            self._num_duplicates_in_row += 1
            self._copy_failure(trial.number, self._failed[arch.arch_id])
            return False
        for number, arch_id in self._in_flight.items():
            if arch_id == arch.arch_id:
                self._num_duplicates_in_row += 1
                self._followers.setdefault(number, []).append(trial.number)
                return False
        self._num_duplicates_in_row = 0
        return True

    def _latency(self, arch: ArchConfig) -> tuple[LatencyEstimate | None, float | None, Failure | None]:
        """The estimate, by which share of the budget it is above it, and why the device cannot run it."""
        try:
            latency = self._latencies.estimate(arch)
        except CannotRunError as error:
            return None, _CANNOT_RUN_VIOLATION, Failure(type=type(error).__name__, message=str(error))
        if self._latency_budget_ms is None:
            return latency, None, None
        return latency, latency.latency_ms / self._latency_budget_ms - 1, None

    def _enqueue_untried(self) -> bool:
        """Makes the next trial a random architecture that was never proposed."""
        self._num_duplicates_in_row = 0
        for draw in range(_MAX_RANDOM_DRAWS):
            arch = random_arch(self._space, self._config.seed + len(self._tried) * _MAX_RANDOM_DRAWS + draw)
            if arch.arch_id not in self._tried:
                self._study.enqueue_trial(dict(decisions_of(arch, self._space)))
                return True
        return False

    # After the evaluation

    def _settle(self, outcome: Outcome, bar: AbstractBar) -> None:
        """Writes down and tells what came of a trial, and of those that wait for it."""
        arch_id = self._in_flight.pop(outcome.number)
        result = _finite_or_failure(outcome.result)
        followers = self._followers.pop(outcome.number, [])
        self._num_evaluated += 1
        match result:
            case Failure():
                logger.warning("trial %d failed: %s: %s", outcome.number, result.type, result.message)
                self._fail(outcome.number, result)
                self._failed[arch_id] = outcome.number
                for number in followers:
                    self._copy_failure(number, outcome.number)
                self._num_failures_in_row += 1
            case TrialResult():
                self._register(outcome.number, result)
                self._writer.complete_trial(outcome.number, result)
                self._tell(outcome.number)
                self._evaluated[arch_id] = outcome.number
                for number in followers:
                    self._copy(number, outcome.number)
                self._num_failures_in_row = 0
        bar.advance(1, note=self._note(outcome.number))
        if isinstance(result, Failure) and self._num_failures_in_row >= self._config.max_failures_in_row:
            raise SnapNASError(
                f"{self._num_failures_in_row} trials failed one after another, the last with {result.type}: "
                f"{result.message}",
                allowed="what was found is kept, with the log of every failure",
                fix="see to the reason, then type the same command again to go on",
            )

    def _register(self, number: int, result: TrialResult) -> None:
        """Writes down the files that an evaluation left, before the trial counts as complete and is looked at."""
        for kind, path in result.artifacts.items():
            if (self._workspace / path).is_file():
                self._writer.add_artifact(number, kind, self._workspace / path, workspace=self._workspace)
            else:  # evaluated on another machine, whose workspace is not this one
                logger.warning("trial %d left its %s elsewhere: %s is not here", number, kind, self._workspace / path)

    def _note(self, number: int) -> str:
        record = self._reader.trial(self._study.study_name, number)
        values = ", ".join(f"{name} {value:.4g}" for name, value in record.values.items())
        return f"trial {number}: {values or record.state}"

    def _copy(self, number: int, original: int) -> None:
        self._writer.copy_trial(number, original=original)
        self._tell(number)

    def _copy_failure(self, number: int, original: int) -> None:
        failure = self._reader.trial(self._study.study_name, original).failure
        assert failure is not None
        repeated = Failure(type=failure.type, message=f"as trial {original}: {failure.message}")
        self._fail(number, repeated, original=original)

    def _fail(self, number: int, failure: Failure, *, original: int | None = None) -> None:
        self._writer.fail_trial(number, failure, original=original)
        self._tell(number)

    def _tell(self, number: int) -> None:
        """Tells Optuna what our row says."""
        record = self._reader.trial(self._study.study_name, number)
        match record.state:
            case "complete" | "duplicate":
                self._study.tell(number, [record.values[objective.name] for objective in record.objectives])
            case "infeasible":
                self._study.tell(number, state=OptunaState.PRUNED)
            case _:
                self._study.tell(number, state=OptunaState.FAIL)

    # After a kill

    def _release_running(self, failure: Failure) -> None:
        """Ends every trial that Optuna calls running: as our row says, or as failed and to be tried again."""
        records = {record.number: record for record in self._reader.trials(self._study.study_name)}
        for trial in self._study.get_trials(deepcopy=False, states=(OptunaState.RUNNING,)):
            record = records.get(trial.number)
            if record is None:
                self._writer.start_unknown_trial(trial.number)
            if record is None or record.state == "running":
                self._study.enqueue_trial(dict(trial.params), user_attrs={"retry_of": trial.number})
                self._writer.fail_trial(trial.number, failure)
            self._tell(trial.number)

    def _remember(self) -> None:
        for record in self._reader.trials(self._study.study_name):
            if record.arch_id is None:
                continue
            self._num_evaluated += is_evaluated(record)
            if record.state == "complete":
                self._evaluated[record.arch_id] = record.number
            if _has_failed(record):
                self._failed.setdefault(record.arch_id, record.number)
            if record.state != "failed" or _has_failed(record):
                self._tried.add(record.arch_id)


def _finite_or_failure(result: TrialResult | Failure) -> TrialResult | Failure:
    """Only a finite number may enter a front: NaN would stay running for ever, and infinity would win."""
    if isinstance(result, TrialResult):
        value: object = result.proxy_value  # it may come out of another process's JSON
        if not isinstance(value, int | float) or not math.isfinite(value):
            return Failure(type="NotFinite", message=f"the proxy gave {value!r}, which is not a finite number")
    return result
