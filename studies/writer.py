"""Writes what a study finds, row by row, each in its own transaction: what is written stays written.

Our row of a trial is written before Optuna is told, so that after a kill at any moment the row decides what became of
the trial (`studies.driver`).
"""

import datetime
import hashlib
import json
import math
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from profilers.device import Device
from profilers.estimating import LatencyEstimate
from profilers.storage import create_tables
from search_space.arch import ArchConfig
from studies.results import Failure, Objective, TrialResult
from studies.tables import SCHEMA_VERSION, ArchRow, ArtifactRow, StudyBase, StudyRow, StudySchemaRow, TrialRow

MAX_LOG_BYTES = 8 * 1024
_MAX_MESSAGE_LENGTH = 1000


class StudyWriter:
    """Writes one study."""

    def __init__(self, engine: Engine, study_name: str) -> None:
        self._engine = engine
        self._study_name = study_name
        create_tables(engine, StudyBase.metadata)
        with Session(engine) as session, session.begin():
            if session.scalar(select(StudySchemaRow.version)) is None:
                session.add(StudySchemaRow(version=SCHEMA_VERSION))

    def create_study(
        self,
        *,
        fingerprint: Mapping[str, str],
        config: str,
        objectives: tuple[Objective, ...],
        device: Device,
        latency_budget_ms: float | None,
    ) -> None:
        """Writes down what was asked for.

        Args:
            fingerprint: What decides the results.
            config: The JSON of the `StudyConfig`.
            objectives: Latency, then the proxy.
            device: Whose latency counts.
            latency_budget_ms: The most an architecture may take.
        """
        row = StudyRow(
            name=self._study_name,
            fingerprint=_json(fingerprint),
            config=config,
            objectives=_json([{"name": one.name, "direction": one.direction} for one in objectives]),
            device=device.name,
            device_id=device.device_id,
            is_latency_estimated=device.is_estimate,
            latency_budget_ms=latency_budget_ms,
            created_at=_now(),
        )
        with Session(self._engine) as session, session.begin():
            session.add(row)

    def start_trial(
        self,
        number: int,
        arch: ArchConfig,
        *,
        estimate: LatencyEstimate | None,
        violation: float | None,
        seed: int,
    ) -> None:
        """Writes down which architecture a trial is, as running."""
        row = TrialRow(
            study_name=self._study_name,
            number=number,
            state="running",
            arch_id=arch.arch_id,
            latency_ms=estimate and estimate.latency_ms,
            latency_low_ms=estimate and estimate.low_ms,
            latency_high_ms=estimate and estimate.high_ms,
            violation=violation,
            details="{}",
            started_at=_now(),
            seed=seed,
            host=platform.node(),
        )
        with Session(self._engine) as session, session.begin():
            session.merge(ArchRow(arch_id=arch.arch_id, arch=arch.to_json()))
            session.flush()
            session.add(row)

    def start_unknown_trial(self, number: int) -> None:
        """Writes down a trial that was asked for, and lost before anyone knew its architecture."""
        row = TrialRow(
            study_name=self._study_name,
            number=number,
            state="running",
            details="{}",
            started_at=_now(),
            seed=0,
            host=platform.node(),
        )
        with Session(self._engine) as session, session.begin():
            session.add(row)

    def complete_trial(self, number: int, result: TrialResult) -> None:
        """Ends a trial with a result."""
        self._finish(
            number,
            state="complete",
            proxy_value=result.proxy_value,
            details=_json(_finite(result.details)),
            duration_s=result.duration_s,
            host=result.host,
        )

    def fail_trial(self, number: int, failure: Failure, *, original: int | None = None) -> None:
        """Ends a trial without a result, with the reason; `original` had the same architecture and failed before."""
        self._finish(number, state="failed", duplicate_of=original, **_reason(failure))

    def reject_trial(self, number: int, failure: Failure | None) -> None:
        """Ends a trial whose architecture breaks the latency budget, or cannot run on the device for this reason."""
        self._finish(number, state="infeasible", **(_reason(failure) if failure else {}))

    def copy_trial(self, number: int, *, original: int) -> None:
        """Ends a trial with the result of an earlier one of the same architecture."""
        with Session(self._engine) as session:
            proxy_value = session.get_one(TrialRow, (self._study_name, original)).proxy_value
        self._finish(number, state="duplicate", duplicate_of=original, proxy_value=proxy_value)

    def add_artifact(self, number: int, kind: str, path: Path, *, workspace: Path) -> None:
        """Registers a file or folder of the workspace; again, if it has changed."""
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        digests = {file.relative_to(path.parent).as_posix(): _sha256(file) for file in files}
        is_file = path.is_file()
        row = ArtifactRow(
            study_name=self._study_name,
            number=number,
            path=path.resolve().relative_to(workspace.resolve()).as_posix(),
            kind=kind,
            sha256=digests[path.name] if is_file else hashlib.sha256(_json(digests).encode()).hexdigest(),
            size_bytes=sum(file.stat().st_size for file in files),
            created_at=_now(),
        )
        with Session(self._engine) as session, session.begin():
            session.merge(row)

    def _finish(self, number: int, **values: Any) -> None:
        with Session(self._engine) as session, session.begin():
            row = session.get_one(TrialRow, (self._study_name, number))
            for name, value in values.items():
                setattr(row, name, value)
            row.finished_at = _now()


def _reason(failure: Failure) -> dict[str, str]:
    """The columns of a failure; the log's end is what tells why, and short enough to keep a thousand of them."""
    log = failure.log.encode()[-MAX_LOG_BYTES:].decode(errors="ignore")
    texts = {"type": failure.type, "message": failure.message[:_MAX_MESSAGE_LENGTH], "log": log}
    # PostgreSQL keeps no NUL in a text.
    return {f"failure_{name}": text.replace("\0", "") for name, text in texts.items()}


def _finite(document: Any) -> Any:
    """The document with null for every number that strict JSON cannot express."""
    match document:
        case float() if not math.isfinite(document):
            return None
        case Mapping():
            return {str(key): _finite(value) for key, value in document.items()}
        case list() | tuple():
            return [_finite(value) for value in document]
        case _:
            return document


def _json(document: object) -> str:
    return json.dumps(document, sort_keys=True, allow_nan=False)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
