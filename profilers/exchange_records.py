"""What a latency table is outside of its database: the lines of a file.

A line is of one of four kinds: a device, a campaign, a row (one block or network on one device) or a sample. What can
be derived is left out: medians and intervals come from the samples, so nobody can send a median that no sample
supports. The annotations bound what a line may hold when pydantic reads it for `profilers.exchange_checks`.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from profilers.measurement import MAX_ELASTICITY, MAX_MS, MIN_MS, Sample

MAX_REASON_LENGTH = 4000

_STRICT: dict[str, Any] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}
_MAX_TEXT_LENGTH = 50_000

_PLAIN = r"^\P{C}*$"  # nothing that a terminal obeys, and no NUL, which PostgreSQL refuses
Word = Annotated[str, StringConstraints(pattern=_PLAIN)]
"""A string inside a JSON document: in its text \\u001b is six harmless letters, decoded it is one that commands."""
Text = Annotated[str, StringConstraints(min_length=1, max_length=_MAX_TEXT_LENGTH, pattern=_PLAIN)]
Reason = Annotated[str, StringConstraints(max_length=MAX_REASON_LENGTH, pattern=r"^[\P{C}\t\r\n]*$")]
Timestamp = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\+00:00$")]
DeviceId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
SubjectId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Milliseconds = Annotated[float, Field(ge=MIN_MS, le=MAX_MS)]
Whole = Annotated[int, Field(ge=0, lt=2**31)]  # what an INTEGER column of PostgreSQL holds


@dataclass(frozen=True, kw_only=True)
class DeviceLine:
    """A device, and how fast its sentinel was when it was first measured."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    record: ClassVar[str] = "device"

    device_id: DeviceId
    """The hash of the document."""
    document: Text
    """The JSON of `Device`."""
    sentinel_ms: Milliseconds | None = None
    """What every sample's drift is relative to; None for a device that was never measured."""


@dataclass(frozen=True, kw_only=True)
class CampaignLine:
    """One run of the measuring protocol."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    record: ClassVar[str] = "campaign"

    device_id: DeviceId
    """Of its device."""
    campaign: Whole
    """Its number in this file."""
    protocol: Text
    """The JSON of the rules."""
    environment_before: Text
    """The JSON of the machine's state."""
    environment_after: Text | None = None
    """None for a campaign that was killed."""


@dataclass(frozen=True, kw_only=True)
class RowLine:
    """One block or network on one device."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    record: ClassVar[str] = "row"

    device_id: DeviceId
    """Of its device."""
    subject_id: SubjectId
    """The hash of the text."""
    kind: Literal["block", "network"]
    """Whether the text is a spec or an architecture."""
    text: Text
    """The sorted JSON of the spec or of the architecture."""
    status: Literal["sampling", "measured", "unstable", "failed", "does_not_fit"]
    """Of a row with a latency, only that it has one is believed: stable or not is derived from the samples."""
    reason: Reason | None = None
    """Why it failed or does not fit."""
    load_report: Text | None = None
    """The JSON of `LoadReport`; None for a row that was never loaded."""
    finished_at: Timestamp | None = None
    """None while sampling."""

    @property
    def has_latency(self) -> bool:
        return self.status in ("measured", "unstable")


@dataclass(frozen=True, kw_only=True)
class SampleLine:
    """One sample, raw. See `profilers.measurement.Sample`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    record: ClassVar[str] = "sample"

    device_id: DeviceId
    """Of its row."""
    subject_id: SubjectId
    """Of its row."""
    campaign: Whole
    """The number, in this file, of the campaign that took it."""
    raw_ms: Milliseconds
    num_runs: Annotated[int, Field(ge=1, lt=2**31)]
    drift: Annotated[float, Field(ge=1e-3, le=1e3)]
    round_index: Whole
    position: Whole
    taken_at: Annotated[float, Field(ge=0, le=1e11)]
    is_flagged: bool
    elasticity: Annotated[float, Field(ge=0, le=MAX_ELASTICITY)]
    common_slowness: Annotated[float, Field(ge=1e-3, le=1e3)]

    @property
    def sample(self) -> Sample:
        return Sample(
            raw_ms=self.raw_ms,
            num_runs=self.num_runs,
            drift=self.drift,
            round_index=self.round_index,
            position=self.position,
            taken_at=self.taken_at,
            is_flagged=self.is_flagged,
            elasticity=self.elasticity,
            common_slowness=self.common_slowness,
        )


Line = DeviceLine | CampaignLine | RowLine | SampleLine

LINE_KINDS: dict[str, type[Line]] = {kind.record: kind for kind in (DeviceLine, CampaignLine, RowLine, SampleLine)}


@dataclass(frozen=True, kw_only=True)
class LatencyExport:
    """The content of one file; every line belongs to a device, a campaign and a row of the same file."""

    devices: tuple[DeviceLine, ...]
    """Every device, each with rows of its own."""
    campaigns: tuple[CampaignLine, ...]
    """Those that took a sample."""
    rows: tuple[RowLine, ...]
    """Every row of the devices."""
    samples: tuple[SampleLine, ...]
    """Every sample of the rows, each row's oldest first."""

    @property
    def lines(self) -> Iterable[Line]:
        return itertools.chain(self.devices, self.campaigns, self.rows, self.samples)
