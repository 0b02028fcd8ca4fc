"""The options of `python -m studies.train`, by themselves, so that `--help` opens at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Fully trains one architecture, following the teacher; then scores it and samples a sheet of pictures.

    To resume, type the same command again.
    """

    trial: Annotated[int | None, tyro.conf.Positional] = None
    """Number of the trial whose architecture is trained."""
    best: bool = False
    """Train the trial that studies.run would choose."""
    arch: Path | None = None
    """Train the architecture of this JSON file."""
    study: str | None = None
    """The study; the newest one by default, and for --arch the recipe tiny_on_cpu."""
    storage: str | None = None
    """Database URL: sqlite:///file.db or postgresql://user:password@host/database; a file in --out by default."""
    data: str | None = None
    """What to learn, in place of the study's data: scenes, digits, or a folder of captioned images."""
    out: Path = Path("workspace")
    """Folder of the study, the teacher and the trained model, as for studies.run."""
    steps: int | None = None
    """Optimiser steps, in place of the study's steps and time limit."""
    dry_run: bool = False
    """Say what would be trained, and do nothing."""
    json: bool = False
    """Print the outcome as one JSON line on stdout."""
