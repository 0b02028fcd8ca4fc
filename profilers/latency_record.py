"""What the latency table answers: what is known of one subject, and how much of a list of blocks is there."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, cast, get_args

from sqlalchemy import Row

from profilers.subject import Subject
from profilers.tables import LatencyRow
from search_space.specs import BlockSpec

Status = Literal["sampling", "measured", "unstable", "failed", "does_not_fit"]

RECORD_COLUMNS = (
    LatencyRow.status,
    LatencyRow.reason,
    LatencyRow.median_ms,
    LatencyRow.low_ms,
    LatencyRow.high_ms,
    LatencyRow.finished_at,
    LatencyRow.is_settled,
)
"""What a record is made of: a fraction of a row, because an estimate reads forty of them in a millisecond."""


@dataclass(frozen=True, kw_only=True)
class LatencyRecord:
    """What the table knows about one subject on one device."""

    status: Status
    """sampling: not enough samples yet; unstable: measured, but its interval is wider than +-1 %."""
    reason: str | None
    """Why it failed or does not fit."""
    median_ms: float
    """NaN unless measured or unstable, and so are the next two."""
    low_ms: float
    """The lower end of the 95 % interval."""
    high_ms: float
    """The upper end of the 95 % interval."""
    finished_at: str | None
    """UTC, ISO 8601."""
    is_settled: bool
    """Whether its campaign came to its end: a latency was then derived from all samples together."""

    @classmethod
    def of_row(cls, row: Row[*tuple[Any, ...]]) -> Self:
        """From a row that ends with `RECORD_COLUMNS`; unpacked in half the time that asking by name takes."""
        nan = float("nan")
        status, reason, median_ms, low_ms, high_ms, finished_at, is_settled = row[-len(RECORD_COLUMNS) :]
        return cls(
            status=cast(Status, status),
            reason=reason,
            median_ms=nan if median_ms is None else median_ms,
            low_ms=nan if low_ms is None else low_ms,
            high_ms=nan if high_ms is None else high_ms,
            finished_at=finished_at,
            is_settled=is_settled,
        )

    @property
    def has_latency(self) -> bool:
        return self.status in ("measured", "unstable")

    @property
    def has_failed(self) -> bool:
        return self.status in ("failed", "does_not_fit")


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How much of a list of blocks a device's table holds. Every block is in exactly one of the five."""

    present: tuple[BlockSpec, ...]
    """Measured, with a stable median."""
    unstable: tuple[BlockSpec, ...]
    """Measured, but the median is not known to +-1 %."""
    failed: tuple[BlockSpec, ...]
    """Tried, and the device could not run it."""
    does_not_fit: tuple[BlockSpec, ...]
    """Needs more memory than the machine had free; never tried."""
    missing: tuple[BlockSpec, ...]
    """Never finished."""

    @property
    def known(self) -> tuple[BlockSpec, ...]:
        """Those that have a latency, however well it is known."""
        return self.present + self.unstable

    @classmethod
    def of_records(cls, specs: Iterable[BlockSpec], records: Mapping[Subject, LatencyRecord]) -> Self:
        groups: dict[Status, list[BlockSpec]] = {status: [] for status in get_args(Status)}
        for spec in specs:
            record = records.get(Subject.of_block(spec))
            groups[record.status if record else "sampling"].append(spec)
        return cls(
            present=tuple(groups["measured"]),
            unstable=tuple(groups["unstable"]),
            failed=tuple(groups["failed"]),
            does_not_fit=tuple(groups["does_not_fit"]),
            missing=tuple(groups["sampling"]),
        )
