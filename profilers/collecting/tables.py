"""The tables of the quarantine: jobs and what came in for them. The latency table knows nothing of them.

collecting_jobs ---< collecting_portions
"""

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class CollectingBase(DeclarativeBase):
    """The metadata of the quarantine's tables."""


class JobRow(CollectingBase):
    """One job: a list of blocks and networks for one device, opened by one token."""

    __tablename__ = "collecting_jobs"

    job_id: Mapped[str] = mapped_column(String(12), primary_key=True)
    space: Mapped[str]
    device_name: Mapped[str]
    """Given with the job, or empty: then the phone's model names it."""
    max_blocks: Mapped[int | None]
    num_networks: Mapped[int] = mapped_column(server_default="0")
    created_at: Mapped[float]
    """Seconds since 1970, and so are the other times."""
    token_hash: Mapped[str] = mapped_column(String(64))
    token_expires_at: Mapped[float]
    session_hash: Mapped[str | None] = mapped_column(String(64))
    """None before a page claimed the job; the next three as well."""
    session_expires_at: Mapped[float | None]
    device: Mapped[str | None]
    """The JSON of `Device`."""
    plan: Mapped[str | None]
    """The JSON of the blocks and networks asked for, group by group."""
    status: Mapped[str]
    """waiting, collecting, complete, accepted or rejected."""
    campaign_id: Mapped[int | None]
    """The latency table's campaign, once it is being accepted."""


class PortionRow(CollectingBase):
    """What one upload brought, as it was checked."""

    __tablename__ = "collecting_portions"
    __table_args__ = (UniqueConstraint("job_id", "group_index", "round_index", "portion_index"),)

    upload_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("collecting_jobs.job_id"), index=True)
    group_index: Mapped[int]
    round_index: Mapped[int]
    portion_index: Mapped[int]
    received_at: Mapped[float]
    content: Mapped[str]
    """The JSON of `Portion`."""
