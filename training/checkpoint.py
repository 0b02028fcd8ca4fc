"""Checkpoints that survive a kill at any moment and notice a flipped bit.

    <folder>/step-00000200/state.safetensors    tensors
    <folder>/step-00000200/state.json           everything else
    <folder>/step-00000200/manifest.json        sha256 and size of the two files above
    <folder>/latest                             the name of the newest complete checkpoint

Writing goes: a temporary folder beside the others -> fsync of every file and of the folder -> rename -> pointer
(written the same way) -> prune. Whatever is cut short leaves either a folder whose name starts with a dot, which nobody
reads, or a complete checkpoint. Reading checks the manifest and falls back to the checkpoint before, with a warning.
Only safetensors and JSON are read, never a pickle.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

_TENSORS_FILE = "state.safetensors"
_DOCUMENT_FILE = "state.json"
_MANIFEST_FILE = "manifest.json"
_POINTER_FILE = "latest"
_TEMPORARY_PREFIX = ".writing-"
_STEP_PREFIX = "step-"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What was read back."""

    step: int
    """The number of finished steps."""
    tensors: dict[str, Tensor]
    """Every tensor by name."""
    document: dict[str, Any]
    """Everything that is not a tensor."""


def save_checkpoint(
    folder: Path, *, step: int, tensors: Mapping[str, Tensor], document: Mapping[str, Any], num_kept: int = 2
) -> None:
    """Writes one checkpoint and then removes all but the newest `num_kept`."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{_STEP_PREFIX}{step:08d}"
    for leftover in folder.glob(f"{_TEMPORARY_PREFIX}step-*"):
        shutil.rmtree(leftover)
    temporary = folder / f"{_TEMPORARY_PREFIX}{name}"
    temporary.mkdir()
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, temporary / _TENSORS_FILE)
    (temporary / _DOCUMENT_FILE).write_text(json.dumps(dict(document), sort_keys=True, allow_nan=False))
    manifest = {file: _digest(temporary / file) for file in (_TENSORS_FILE, _DOCUMENT_FILE)}
    (temporary / _MANIFEST_FILE).write_text(json.dumps(manifest, sort_keys=True))
    for file in (_TENSORS_FILE, _DOCUMENT_FILE, _MANIFEST_FILE):
        _sync(temporary / file)
    _sync(temporary)
    _move_into_place(temporary, folder / name)
    _point_to(folder, name)
    _prune(folder, num_kept)


def load_newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose bytes are those that were written; None where there is none."""
    for path in _newest_first(folder):
        try:
            return _read(path)
        except (OSError, ValueError) as error:
            _log.warning("checkpoint %s is damaged (%s); trying the one before it", path.name, error)
    return None


def remove_checkpoints(folder: Path) -> None:
    """Removes the folder and everything in it; fine where there is none."""
    shutil.rmtree(folder, ignore_errors=True)


def _read(path: Path) -> Checkpoint:
    manifest = json.loads((path / _MANIFEST_FILE).read_text())
    for file in (_TENSORS_FILE, _DOCUMENT_FILE):
        if manifest.get(file) != _digest(path / file):
            raise ValueError(f"{file} is not what its manifest says")
    return Checkpoint(
        step=int(path.name.removeprefix(_STEP_PREFIX)),
        tensors=load_file(path / _TENSORS_FILE),
        document=json.loads((path / _DOCUMENT_FILE).read_text()),
    )


def _newest_first(folder: Path) -> list[Path]:
    """The checkpoint pointed to, then the others by falling step; a pointer lost or damaged costs nothing."""
    paths = sorted(folder.glob(f"{_STEP_PREFIX}*"), reverse=True)
    pointer = folder / _POINTER_FILE
    latest = pointer.read_text(errors="replace").strip() if pointer.exists() else ""
    return sorted(paths, key=lambda path: path.name != latest)


def _move_into_place(temporary: Path, final: Path) -> None:
    if final.exists():
        shutil.rmtree(final)
    temporary.rename(final)
    _sync(final.parent)


def _point_to(folder: Path, name: str) -> None:
    temporary = folder / f"{_TEMPORARY_PREFIX}{_POINTER_FILE}"
    temporary.write_text(name + "\n")
    _sync(temporary)
    temporary.replace(folder / _POINTER_FILE)
    _sync(folder)


def _prune(folder: Path, num_kept: int) -> None:
    for path in _newest_first(folder)[num_kept:]:
        doomed = path.rename(folder / f"{_TEMPORARY_PREFIX}{path.name}")
        shutil.rmtree(doomed, ignore_errors=True)


def _digest(path: Path) -> dict[str, str | int]:
    content = path.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
