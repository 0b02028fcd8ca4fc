"""What a study found, for whoever reads it: dashboard, report, the end of a run. Imports no torch and no Optuna.

    reader = StudyReader(open_engine("sqlite:///workspace/snapnas.db", read_only=True))
    front = pareto_front(reader.trials("tiny_on_cpu"))

A reader writes nothing, so it may be used on a database that a search is writing at the same time.
"""

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import sqlalchemy
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from profilers.storage import display_url
from search_space.arch import ArchConfig
from search_space.arch_json import arch_from_json
from search_space.errors import StorageError, UsageError
from studies.tables import SCHEMA_VERSION, ArchRow, ArtifactRow, StudyRow, StudySchemaRow, TrialRow

TrialState = Literal["running", "complete", "infeasible", "failed", "duplicate"]
Direction = Literal["minimize", "maximize"]
LatencyCaveat = Literal["", "partly guessed", "estimate"]
"""What stands beside a study's milliseconds wherever they are shown; empty: sums of measured blocks."""

CAVEAT_SENTENCES: Mapping[LatencyCaveat, str] = {
    "partly guessed": "latency of blocks that were not measured is guessed from those like them",
    "estimate": "latency is an estimate, never measured",
}
"""The same for a reader who sees it for the first time."""

TRIAL_STATES: tuple[TrialState, ...] = ("running", "complete", "infeasible", "failed", "duplicate")
LATENCY_OBJECTIVE = "latency_ms"


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One number a study tries to make small or large."""

    name: str
    """Unique in the study, with its unit: latency_ms, held_out_error, num_params."""
    direction: Direction
    """Which way is better."""

    def loss(self, value: float) -> float:
        """The value turned so that smaller is better."""
        return value if self.direction == "minimize" else -value


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What evaluating one architecture gave: everything the driver did not know before."""

    proxy_value: float
    """How good the architecture promises to be; the proxy says which way is better."""
    duration_s: float
    """Wall time of the evaluation."""
    host: str
    """The machine it ran on."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """JSON: the proxy's interim reports and whatever else is worth keeping."""
    artifacts: Mapping[str, str] = field(default_factory=dict)
    """Kind -> path of a file it left in the workspace, relative to that, with forward slashes."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a trial has no result."""

    type: str
    """The exception's class, or Lost, Interrupted, NotFinite, WorkerDied."""
    message: str
    """Its message, in one or a few lines."""
    log: str = ""
    """The end of its traceback or log, at most 8 KiB."""


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial of a study."""

    study_name: str
    """The study it belongs to."""
    number: int
    """Optuna's number, from 0 without gaps."""
    state: TrialState
    """infeasible: breaks the latency budget, never trained. duplicate: took over the result of an earlier trial."""
    objectives: tuple[Objective, ...]
    """What the study tries to make small or large: the keys of `values`."""
    values: Mapping[str, float]
    """Objective's name -> value; complete exactly for trials that were evaluated and their duplicates."""
    arch_id: str | None
    """None only for a trial that was lost before its architecture was known."""
    latency_ms: float | None
    """Estimated from the latency table, known before any training."""
    latency_low_ms: float | None
    """Lower end of the estimate's 95 % interval."""
    latency_high_ms: float | None
    """Upper end of the estimate's 95 % interval."""
    violation: float | None
    """Latency above the budget, as a share of the budget; 0 or less keeps it. None without a budget."""
    duplicate_of: int | None
    """The trial of the same architecture whose result, or failure, this one took over."""
    failure: Failure | None
    """Why there is no result; only for state failed."""
    details: Mapping[str, Any]
    """What else the evaluation found out."""
    duration_s: float | None
    """Wall time of the evaluation."""
    started_at: datetime.datetime
    """UTC."""
    finished_at: datetime.datetime | None
    """UTC; None while it runs."""
    seed: int
    """What the evaluation was seeded with."""
    host: str
    """The machine that evaluated it."""

    @property
    def is_feasible(self) -> bool:
        """Whether it was evaluated and keeps the latency budget."""
        return self.state == "complete" and (self.violation is None or self.violation <= 0)

    @property
    def losses(self) -> tuple[float, ...]:
        """The values in the order of the objectives, turned so that smaller is better."""
        return tuple(objective.loss(self.values[objective.name]) for objective in self.objectives)


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One file or folder that a trial left in the workspace."""

    study_name: str
    """The study."""
    number: int
    """The trial."""
    kind: str
    """samples (of the search), grid (of the full training), scores, weights, arch, onnx, core_ml, executorch,
    diffusers, card."""
    path: str
    """Relative to the workspace, with forward slashes."""
    sha256: str
    """Of the content; of a folder, of its files' names and contents."""
    size_bytes: int
    """Of all files together."""
    created_at: datetime.datetime
    """UTC."""


@dataclass(frozen=True, kw_only=True)
class StudySummary:
    """One study at a glance."""

    name: str
    """Unique in the database."""
    objectives: tuple[Objective, ...]
    """Latency first, then the proxy."""
    device: str
    """Name of the device whose latency counts."""
    device_id: str
    """Key of the device in the latency table."""
    is_latency_estimated: bool
    """Whether the device's milliseconds come from a formula instead of a clock."""
    latency_budget_ms: float | None
    """The most that an architecture may take."""
    num_trials_by_state: Mapping[TrialState, int]
    """Every state, also those without a trial."""
    best: TrialRecord | None
    """The feasible trial with the best proxy value."""
    config: Mapping[str, Any]
    """The document of the `StudyConfig`."""
    fingerprint: Mapping[str, str]
    """What decides the results; empty until the search began."""
    created_at: datetime.datetime
    """UTC."""
    updated_at: datetime.datetime
    """UTC: when a trial last began, ended or left a file."""

    @property
    def is_interpolated(self) -> bool:
        """Whether blocks that the latency table lacks were guessed from measured ones like them."""
        return bool(self.config.get("interpolate", False))

    @property
    def latency_caveat(self) -> LatencyCaveat:
        """What its milliseconds are, where they are no sums of measured blocks."""
        if self.is_latency_estimated:
            return "estimate"
        return "partly guessed" if self.is_interpolated else ""

    @property
    def latency_unit(self) -> str:
        """`ms`, or what goes with it: `ms, estimate`."""
        return f"ms, {self.latency_caveat}" if self.latency_caveat else "ms"


class StudyReader:
    """Reads the studies of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._is_empty = not sqlalchemy.inspect(engine).has_table(StudySchemaRow.__tablename__)
        if not self._is_empty:
            with Session(engine) as session:
                version = session.scalar(select(StudySchemaRow.version))
            if version not in (None, SCHEMA_VERSION):
                raise StorageError(
                    f"the studies in {display_url(engine.url)} have schema version {version}",
                    allowed=f"version {SCHEMA_VERSION}",
                    fix="give another --storage URL, or use the version of SnapNAS that wrote it",
                )

    def studies(self) -> list[StudySummary]:
        """Every study, newest first."""
        if self._is_empty:
            return []
        with Session(self._engine) as session:
            rows = session.scalars(select(StudyRow).order_by(StudyRow.created_at.desc(), StudyRow.name)).all()
            return [_summary(session, row) for row in rows]

    def study(self, name: str) -> StudySummary:
        """One study.

        Raises:
            UsageError: There is none of that name.
        """
        row = self._study_row(name)
        with Session(self._engine) as session:
            return _summary(session, row)

    def trials(self, study_name: str) -> list[TrialRecord]:
        """Every trial of a study, by number."""
        objectives = _objectives(self._study_row(study_name))
        with Session(self._engine) as session:
            query = select(TrialRow).where(TrialRow.study_name == study_name).order_by(TrialRow.number)
            return [_record(row, objectives) for row in session.scalars(query)]

    def trial(self, study_name: str, number: int) -> TrialRecord:
        """One trial.

        Raises:
            UsageError: There is none of that number.
        """
        objectives = _objectives(self._study_row(study_name))
        with Session(self._engine) as session:
            row = session.get(TrialRow, (study_name, number))
            if row is None:
                raise UsageError(f"study {study_name!r} has no trial {number}")
            return _record(row, objectives)

    def artifacts(self, study_name: str, number: int | None = None) -> list[Artifact]:
        """What a trial, or every trial of a study, left on disk; by trial, kind and path."""
        if self._is_empty:
            return []
        query = select(ArtifactRow).where(ArtifactRow.study_name == study_name)
        if number is not None:
            query = query.where(ArtifactRow.number == number)
        with Session(self._engine) as session:
            rows = session.scalars(query.order_by(ArtifactRow.number, ArtifactRow.kind, ArtifactRow.path)).all()
        return [
            Artifact(
                study_name=row.study_name,
                number=row.number,
                kind=row.kind,
                path=row.path,
                sha256=row.sha256,
                size_bytes=row.size_bytes,
                created_at=datetime.datetime.fromisoformat(row.created_at),
            )
            for row in rows
        ]

    def arch(self, arch_id: str) -> ArchConfig:
        """An architecture that some trial had.

        Raises:
            UsageError: No trial had it.
        """
        if not self._is_empty:
            with Session(self._engine) as session:
                row = session.get(ArchRow, arch_id)
                if row is not None:
                    return arch_from_json(row.arch)
        raise UsageError(f"no trial in {display_url(self._engine.url)} has the architecture {arch_id!r}")

    def _study_row(self, name: str) -> StudyRow:
        names: Sequence[str] = ()
        if not self._is_empty:
            with Session(self._engine) as session:
                row = session.get(StudyRow, name)
                if row is not None:
                    return row
                names = session.scalars(select(StudyRow.name).order_by(StudyRow.created_at.desc())).all()
        raise UsageError(
            f"no study is called {name!r} in {display_url(self._engine.url)}",
            allowed=", ".join(names[:10]) or "none yet",
            fix="python -m studies.run makes one",
        )


def pareto_front(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The feasible trials that no other feasible trial beats in one objective without losing in another.

    By rising latency. Of equal trials all are kept. O(n log n).
    """
    feasible = sorted((record for record in records if record.is_feasible), key=lambda record: record.losses)
    front: list[TrialRecord] = []
    best_loss = math.inf
    for record in feasible:
        # Sorted by the first objective, a trial is beaten exactly if an earlier one is at least as good in the second.
        if record.losses[1] < best_loss or (front and record.losses == front[-1].losses):
            front.append(record)
            best_loss = record.losses[1]
    return front


def _summary(session: Session, row: StudyRow) -> StudySummary:
    """The database counts and compares: a dashboard asks every few seconds, about studies of thousands of trials."""
    objectives = _objectives(row)
    last_change = sqlalchemy.func.max(sqlalchemy.func.coalesce(TrialRow.finished_at, TrialRow.started_at))
    query = select(TrialRow.state, sqlalchemy.func.count(), last_change)
    by_state = session.execute(query.where(TrialRow.study_name == row.name).group_by(TrialRow.state)).all()
    left_file = select(sqlalchemy.func.max(ArtifactRow.created_at)).where(ArtifactRow.study_name == row.name)
    times = [row.created_at, session.scalar(left_file), *(changed_at for _, _, changed_at in by_state)]
    best = session.scalar(_best_trial(row.name, objectives[-1]))
    counts = {state: number for state, number, _ in by_state}
    return StudySummary(
        name=row.name,
        objectives=objectives,
        device=row.device,
        device_id=row.device_id,
        is_latency_estimated=row.is_latency_estimated,
        latency_budget_ms=row.latency_budget_ms,
        num_trials_by_state={state: counts.get(state, 0) for state in TRIAL_STATES},
        best=None if best is None else _record(best, objectives),
        config=json.loads(row.config),
        fingerprint=json.loads(row.fingerprint),
        created_at=datetime.datetime.fromisoformat(row.created_at),
        updated_at=max(datetime.datetime.fromisoformat(time) for time in times if time is not None),
    )


def _best_trial(study_name: str, objective: Objective) -> sqlalchemy.Select[TrialRow]:
    """The feasible trial with the best proxy value, of equal ones the first; see `TrialRecord.is_feasible`."""
    value = TrialRow.proxy_value
    keeps_budget = sqlalchemy.or_(TrialRow.violation.is_(None), TrialRow.violation <= 0)
    return (
        select(TrialRow)
        .where(TrialRow.study_name == study_name, TrialRow.state == "complete", keeps_budget)
        .order_by(value.asc() if objective.direction == "minimize" else value.desc(), TrialRow.number)
        .limit(1)
    )


def _objectives(row: StudyRow) -> tuple[Objective, ...]:
    return tuple(Objective(**document) for document in json.loads(row.objectives))


def _record(row: TrialRow, objectives: tuple[Objective, ...]) -> TrialRecord:
    values: dict[str, float] = {}
    if row.latency_ms is not None and row.proxy_value is not None:
        values = dict(zip((o.name for o in objectives), (row.latency_ms, row.proxy_value), strict=True))
    failure = None
    if row.failure_type is not None:
        failure = Failure(type=row.failure_type, message=row.failure_message or "", log=row.failure_log or "")
    return TrialRecord(
        study_name=row.study_name,
        number=row.number,
        state=cast(TrialState, row.state),
        objectives=objectives,
        values=values,
        arch_id=row.arch_id,
        latency_ms=row.latency_ms,
        latency_low_ms=row.latency_low_ms,
        latency_high_ms=row.latency_high_ms,
        violation=row.violation,
        duplicate_of=row.duplicate_of,
        failure=failure,
        details=json.loads(row.details),
        duration_s=row.duration_s,
        started_at=datetime.datetime.fromisoformat(row.started_at),
        finished_at=None if row.finished_at is None else datetime.datetime.fromisoformat(row.finished_at),
        seed=row.seed,
        host=row.host,
    )
