"""What a page may send: strict, versioned, and nothing beside it.

A field that is not named here is refused, so a page cannot send a median: the server has only raw samples, and derives
the rest. Durations are those of the page's own clock since the portion began; the page's date is not asked for.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from profilers.collecting.secrets_and_limits import SECRET_PATTERN
from profilers.measurement import MAX_MS, MIN_MS

SCHEMA_VERSION = 1
MAX_PORTION_KEYS = 400
SAMPLES_PER_PROBE = 3
_MAX_PROBES = 64

Provider = Literal["wasm", "webgpu"]

Milliseconds = Annotated[float, Field(ge=MIN_MS, le=MAX_MS)]
ElapsedMilliseconds = Annotated[float, Field(ge=0, lt=1e9)]
Secret = Annotated[str, Field(pattern=SECRET_PATTERN)]
Identifier = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
SubjectKey = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
PlainText = Annotated[str, Field(pattern=r"^[A-Za-z0-9 ._:,()\[\]/'+-]{1,128}$")]
NumRuns = Annotated[int, Field(ge=1, le=1_000_000)]
Index = Annotated[int, Field(ge=0, le=100_000)]


class Message(BaseModel):
    """The rules of every message."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    schema_version: Literal[1]


class Part(BaseModel):
    """The rules of what a message is made of."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Claim(Message):
    """A page takes the job that its token stands for. Sent again with the same session key it changes nothing."""

    token: Secret
    session_key: Secret
    """Made up by the page; speaks for it from now on."""
    provider: Provider
    threads: Annotated[int, Field(ge=1, le=64)]
    num_cores: Annotated[int, Field(ge=1, le=1024)] | None
    """navigator.hardwareConcurrency; None where the browser does not tell."""
    has_exact_clock: bool
    """Whether the page's clock is exact, so that its blocks run in turn; otherwise they are looped."""
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,39}$")] | None
    """The model, as the browser's client hints or a person told the page."""
    system_version: Annotated[str, Field(pattern=r"^\d{1,3}(\.\d{1,3}){0,3}$")] | None
    """The system's version from the client hints: Chrome's User-Agent says Android 10 whatever it is."""
    max_touch_points: Annotated[int, Field(ge=0, le=256)]
    """navigator.maxTouchPoints: Safari's User-Agent calls an iPad a Mac, which has none."""


class Probe(Part):
    """One look at the sentinel."""

    position: Annotated[int, Field(ge=0, le=MAX_PORTION_KEYS)]
    """How many samples of the portion had been taken before it."""
    raw_ms: Annotated[list[Milliseconds], Field(min_length=SAMPLES_PER_PROBE, max_length=SAMPLES_PER_PROBE)]
    num_runs: NumRuns
    at_ms: ElapsedMilliseconds
    """When it began, since the portion began."""


class BlockSample(Part):
    """One sample of one block: some runs in a loop, or one at a time in turn with other blocks."""

    key: SubjectKey
    raw_ms: Milliseconds
    """Milliseconds of one run."""
    num_runs: NumRuns
    at_ms: ElapsedMilliseconds
    """When its first timed run began, since the portion began."""


class BlockFailure(Part):
    """A block that the page could not run."""

    key: SubjectKey
    reason: PlainText


class Portion(Message):
    """The raw samples of one portion of a round."""

    upload_id: Identifier
    """Made up by the page; the same upload sent twice counts once."""
    plan_id: Identifier
    """What the server asked for, as it was named there."""
    group_index: Index
    round_index: Index
    portion_index: Index
    probes: Annotated[list[Probe], Field(min_length=2, max_length=_MAX_PROBES)]
    samples: Annotated[list[BlockSample], Field(max_length=MAX_PORTION_KEYS)]
    failures: Annotated[list[BlockFailure], Field(max_length=MAX_PORTION_KEYS)]
