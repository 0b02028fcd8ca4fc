"""The tables of a study's results, as SQLAlchemy classes, in the same database as Optuna's own.

    snapnas_studies ---< snapnas_trials >--- snapnas_archs
           |
           +---- snapnas_artifacts

Optuna keeps what its samplers need (parameters, values, constraints); these keep what people ask for: which
architecture a trial was, why it failed, what it left on disk. Columns hold text, integers and floats only, so that
SQLite and PostgreSQL give back exactly what went in; times are UTC in ISO 8601, documents are strict JSON.
"""

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA_VERSION = 1


class StudyBase(DeclarativeBase):
    """The metadata of every table of results."""


class StudySchemaRow(StudyBase):
    """One row: which layout the tables have."""

    __tablename__ = "snapnas_schema"

    version: Mapped[int] = mapped_column(primary_key=True)


class StudyRow(StudyBase):
    """One study: what was asked for, once and for all."""

    __tablename__ = "snapnas_studies"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(Text)
    """The JSON of everything that decides the results. Filled in when the search begins; "{}" before."""
    config: Mapped[str] = mapped_column(Text)
    """The JSON of `StudyConfig`."""
    objectives: Mapped[str] = mapped_column(Text)
    """The JSON of the objectives: `[{"name": ..., "direction": ..., "unit": ...}]`."""
    device: Mapped[str]
    """The device's name."""
    device_id: Mapped[str] = mapped_column(String(12))
    is_latency_estimated: Mapped[bool]
    """Whether the device's milliseconds come from a formula instead of a clock."""
    latency_budget_ms: Mapped[float | None]
    """The most that an architecture may take; None without a limit."""
    created_at: Mapped[str]


class ArchRow(StudyBase):
    """One architecture, whoever asked for it."""

    __tablename__ = "snapnas_archs"

    arch_id: Mapped[str] = mapped_column(String(12), primary_key=True)
    arch: Mapped[str] = mapped_column(Text)
    """The JSON of `ArchConfig`."""


class TrialRow(StudyBase):
    """What became of one Optuna trial. See `studies.results.TrialRecord`."""

    __tablename__ = "snapnas_trials"

    study_name: Mapped[str] = mapped_column(ForeignKey("snapnas_studies.name"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str]
    """running, complete, infeasible, failed or duplicate."""
    arch_id: Mapped[str | None] = mapped_column(ForeignKey("snapnas_archs.arch_id"), index=True)
    """None only for a trial that was lost before its architecture was written down."""
    latency_ms: Mapped[float | None]
    latency_low_ms: Mapped[float | None]
    latency_high_ms: Mapped[float | None]
    violation: Mapped[float | None]
    """By how much of the budget the latency breaks it; 0 or less keeps it. None without a budget."""
    proxy_value: Mapped[float | None]
    details: Mapped[str] = mapped_column(Text)
    """JSON: whatever else the evaluation found out."""
    duplicate_of: Mapped[int | None]
    failure_type: Mapped[str | None]
    failure_message: Mapped[str | None] = mapped_column(Text)
    failure_log: Mapped[str | None] = mapped_column(Text)
    duration_s: Mapped[float | None]
    started_at: Mapped[str]
    finished_at: Mapped[str | None]
    seed: Mapped[int]
    host: Mapped[str]


class ArtifactRow(StudyBase):
    """One file or folder that a trial left in the workspace."""

    __tablename__ = "snapnas_artifacts"

    study_name: Mapped[str] = mapped_column(ForeignKey("snapnas_studies.name"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(String(500), primary_key=True)
    """Relative to the workspace, with forward slashes."""
    kind: Mapped[str]
    """See `studies.results.Artifact`."""
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int]
    created_at: Mapped[str]
