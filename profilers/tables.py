"""The tables behind `profilers.latency_table`, as SQLAlchemy classes.

    latency_devices ---< latency_rows ---< latency_samples >--- latency_campaigns
           |
           +---- latency_corrections

Columns hold text, integers and floats only, so that SQLite and PostgreSQL give back exactly what went in.
"""

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA_VERSION = 7


class LatencyBase(DeclarativeBase):
    """The metadata of every latency table."""


class SchemaVersion(LatencyBase):
    """One row: which layout the tables have."""

    __tablename__ = "latency_schema"

    version: Mapped[int] = mapped_column(primary_key=True)


class DeviceRow(LatencyBase):
    """A device, and how fast its sentinel was when it was first measured."""

    __tablename__ = "latency_devices"

    device_id: Mapped[str] = mapped_column(String(12), primary_key=True)
    name: Mapped[str]
    record: Mapped[str]
    """The JSON of `Device`."""
    sentinel_ms: Mapped[float | None]
    """The sentinel's median in the first campaign: what every later campaign's drift is relative to."""


class CampaignRow(LatencyBase):
    """One run of the measuring protocol, with the state of the machine around it."""

    __tablename__ = "latency_campaigns"

    campaign_id: Mapped[int] = mapped_column(primary_key=True)
    device_id: Mapped[str] = mapped_column(ForeignKey("latency_devices.device_id"))
    protocol: Mapped[str]
    """The JSON of `Protocol`."""
    environment_before: Mapped[str]
    environment_after: Mapped[str | None]
    """None for a campaign that was killed."""


class LatencyRow(LatencyBase):
    """One block or network on one device."""

    __tablename__ = "latency_rows"
    __table_args__ = (UniqueConstraint("device_id", "subject_id"),)

    row_id: Mapped[int] = mapped_column(primary_key=True)
    device_id: Mapped[str] = mapped_column(ForeignKey("latency_devices.device_id"))
    subject_id: Mapped[str] = mapped_column(String(16))
    kind: Mapped[str]
    text: Mapped[str]
    status: Mapped[str]
    """sampling, measured, unstable, failed or does_not_fit."""
    reason: Mapped[str | None]
    """Why it failed or does not fit."""
    load_report: Mapped[str | None]
    """The JSON of `LoadReport`."""
    median_ms: Mapped[float | None]
    low_ms: Mapped[float | None]
    high_ms: Mapped[float | None]
    finished_at: Mapped[str | None]
    """UTC, ISO 8601."""
    is_settled: Mapped[bool] = mapped_column(default=False)
    """Whether the campaign that tried it came to its end, and derived a latency, if any, from all samples together."""


class SampleRow(LatencyBase):
    """One sample, raw, and by what it is divided. See `profilers.measurement.Sample`."""

    __tablename__ = "latency_samples"

    sample_id: Mapped[int] = mapped_column(primary_key=True)
    row_id: Mapped[int] = mapped_column(ForeignKey("latency_rows.row_id"), index=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("latency_campaigns.campaign_id"))
    raw_ms: Mapped[float]
    num_runs: Mapped[int]
    drift: Mapped[float]
    round_index: Mapped[int]
    position: Mapped[int]
    taken_at: Mapped[float]
    is_flagged: Mapped[bool]
    elasticity: Mapped[float]
    common_slowness: Mapped[float]


class CorrectionRow(LatencyBase):
    """What the blocks of one device, the source, say of whole networks on a device; most often it is the same one."""

    __tablename__ = "latency_corrections"

    device_id: Mapped[str] = mapped_column(ForeignKey("latency_devices.device_id"), primary_key=True)
    source_id: Mapped[str] = mapped_column(ForeignKey("latency_devices.device_id"), primary_key=True)
    space: Mapped[str] = mapped_column(primary_key=True)
    """Name of the search space that the networks are of: elsewhere the scales would be a guess."""
    correction: Mapped[str]
    """The JSON of `Correction`."""
