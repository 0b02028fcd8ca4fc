"""Weights as safetensors, and a manifest that notices when a file is not the one that was written.

safetensors refuses a truncated file or a broken header, but loads a flipped bit in silence. So an exported folder
carries `manifest.json` with the size and sha256 of every file, and `verify_manifest` compares them before anything is
loaded.
"""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar

from pydantic import Field, TypeAdapter, ValidationError
from safetensors.torch import save_file
from torch import nn

from search_space.arch import ArchConfig
from search_space.errors import UsageError
from search_space.version import __version__, git_commit

FORMAT_VERSION = 1
"""Of the exported folder: its layout, its manifest and the metadata of its weights."""

MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class ExportedFile:
    """One file of an exported folder."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "strict": True}

    path: str
    """Relative to the folder, with forward slashes."""
    size_bytes: Annotated[int, Field(ge=0)]
    """Its size."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of its content, in hex."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Every file of an exported folder but the manifest itself."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}

    format_version: int
    """Of the exported folder."""
    files: tuple[ExportedFile, ...]
    """Sorted by path."""


def weights_metadata(arch: ArchConfig) -> dict[str, str]:
    """What every exported file says about where it comes from; strings only, as safetensors and ONNX ask."""
    return {
        "format_version": str(FORMAT_VERSION),
        "arch_id": arch.arch_id,
        "snapnas_version": __version__,
        "git_commit": git_commit() or "unknown",
    }


def save_weights(module: nn.Module, path: Path, *, metadata: Mapping[str, str]) -> None:
    """Writes the module's parameters and persistent buffers as safetensors; the file appears when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        temporary_path = Path(folder) / path.name
        save_file(tensors, temporary_path, metadata={"format": "pt", **metadata})  # diffusers reads only "pt"
        os.replace(temporary_path, path)


def write_manifest(folder: Path) -> Manifest:
    """Hashes every file below a folder and writes the list beside them."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST_FILE)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        files=tuple(
            ExportedFile(path=path.relative_to(folder).as_posix(), size_bytes=path.stat().st_size, sha256=_sha256(path))
            for path in paths
        ),
    )
    (folder / MANIFEST_FILE).write_bytes(TypeAdapter(Manifest).dump_json(manifest, indent=2) + b"\n")
    return manifest


def verify_manifest(folder: Path) -> Manifest:
    """Compares every file of an exported folder with its manifest.

    Raises:
        UsageError: The manifest is missing or malformed, or a file is missing or differs; the file is named.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise UsageError(f"{folder} has no {MANIFEST_FILE}", allowed="a folder that SnapNAS exported")
    try:
        manifest = TypeAdapter(Manifest).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{path} is not a manifest: {place} {first['msg']}", fix="export again") from None
    if manifest.format_version != FORMAT_VERSION:
        raise UsageError(
            f"{path} has format_version {manifest.format_version}", allowed=str(FORMAT_VERSION), fix="export again"
        )
    for file in manifest.files:
        _verify_file(folder, file)
    return manifest


def _verify_file(folder: Path, file: ExportedFile) -> None:
    relative = PurePosixPath(file.path)
    if relative.is_absolute() or ".." in relative.parts:
        raise UsageError(f"{folder / MANIFEST_FILE} names {file.path}", allowed="files inside the folder")
    path = folder / relative
    fix = "export again, or copy the folder again"
    if not path.is_file():
        raise UsageError(f"{path} is missing", fix=fix)
    if path.stat().st_size != file.size_bytes:
        raise UsageError(f"{path} has {path.stat().st_size} bytes", allowed=f"{file.size_bytes} bytes", fix=fix)
    if _sha256(path) != file.sha256:
        raise UsageError(f"{path} is not the file that was exported: its sha256 differs", fix=fix)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
