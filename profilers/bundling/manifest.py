"""What a bundle says about itself: `manifest.json`, which names every other file with its sha256.

    manifest.json               this; its own sha256 is the job's identity, which the results carry back
    run_bundle.py               the one file that runs on the Mac
    models/<subject id>.zip     a Core ML package each
    manifests/<sha256>.json     every manifest the folder ever had: results of any of them are ours

`job.json` is written first and says what the folder is for, so that an interrupted run is continued by the same job
only.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from profilers.bundling.core_ml_choices import Layout, Units
from profilers.subject import Subject
from search_space.errors import UsageError

SCHEMA_VERSION = 2
"""Of the bundle and of the results that come back."""

MANIFEST_FILE = "manifest.json"
MANIFESTS_FOLDER = "manifests"
JOB_FILE = "job.json"
RUNNER_FILE = "run_bundle.py"

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
ModelId = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]

STRICT: dict[str, object] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}

DocumentT = TypeVar("DocumentT")


@dataclass(frozen=True, kw_only=True)
class BundleProtocol:
    """The rules that `run_bundle.py` measures by."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT

    min_rounds: int = 8
    """No model is finished with fewer samples."""
    max_rounds: int = 20
    """A model with this many samples is finished."""
    stable_half_width: float = 0.01
    """Of the median: how well it has to be known before the last round."""
    sentinel_every: int = 16
    """Models between two looks at the sentinel."""
    max_group_bytes: int = 512 * 2**20
    """Weights that are unpacked and loaded at once."""
    num_loads: int = 2
    """How often each model is loaded: the first time it is compiled for the device, later it comes from a cache."""
    max_cooling_s: float = 60.0
    """How long a round waits at most for a hot machine to cool down."""
    seed: int = 0
    """Of the random orders."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a bundle is for; equal jobs may continue each other."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT

    schema_version: int
    """Of the bundle."""
    space: str
    """The search space whose blocks and networks it holds."""
    layout: Layout
    """How transformers are laid out."""
    converter: str
    """What wrote the models, with its version."""


@dataclass(frozen=True, kw_only=True)
class BundledModel:
    """One block or network as a packed Core ML package."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT

    model_id: ModelId
    """The subject's id; the file is `models/<model_id>.zip`."""
    subject: Subject
    """The block or network."""
    sha256: Sha256
    """Of the packed file."""
    packed_bytes: int
    """Size of the packed file."""
    weight_bytes: int
    """Size of the weights once unpacked."""


@dataclass(frozen=True, kw_only=True)
class FailedModel:
    """One block or network that did not convert."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT

    subject: Subject
    """The block or network."""
    reason: str
    """What the converter said."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything in a bundle."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT

    job: Job
    """What the bundle is for."""
    units: tuple[Units, ...]
    """The compute units to measure on, unless the user asks for others."""
    protocol: BundleProtocol
    """The measuring rules."""
    runner_sha256: Sha256
    """Of `run_bundle.py`."""
    sentinel: BundledModel
    """Measured again and again, to see the device's own speed move."""
    models: tuple[BundledModel, ...]
    """Every block, then every network."""
    failures: tuple[FailedModel, ...]
    """What is missing, and why."""


def write_document(path: Path, document: object) -> None:
    path.write_bytes(TypeAdapter(type(document)).dump_json(document, indent=1) + b"\n")


def read_document(path: Path, document_type: type[DocumentT], *, what: str, fix: str) -> DocumentT:
    """Reads strict JSON.

    Raises:
        UsageError: There is no such file, or it is something else.
    """
    if not path.is_file():
        raise UsageError(f"there is no {what} at {path}", fix=fix)
    try:
        return TypeAdapter(document_type).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{path} is not {what}: {place} {first['msg']}", fix=fix) from None


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
