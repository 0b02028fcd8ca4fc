"""Fully trains one architecture: `python -m studies.train TRIAL`.

A trial of a study is trained as the study's winner would be; an architecture file as a recipe says. Both follow the
cached teacher. To resume, type the same command again.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from search_space import command_line


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


def train(options: TrainOptions) -> None:
    """The command."""
    from studies.training_plan import carry_out, resolve

    plan = resolve(options)
    document = plan.document()
    if options.dry_run:
        lines = [f"{name}: {value}" for name, value in document.items() if value is not None]
        command_line.print_json(document) if options.json else print("\n".join(lines))
        return
    trained = carry_out(plan)
    print("scores: " + ", ".join(f"{name} {value:.3g}" for name, value in trained.scores.items()), file=sys.stderr)
    print(f"samples: {trained.grid}\ntrained: {trained.folder}", file=sys.stderr)
    if options.json:
        command_line.print_json({**document, "scores": trained.scores, "samples": str(trained.grid)})


if __name__ == "__main__":
    command_line.run(train, TrainOptions, prog="studies.train")
