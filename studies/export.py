"""Exports a trained trial: `python -m studies.export TRIAL` or `--best`.

ONNX, Core ML, safetensors, a diffusers-style folder and a model card, in one folder with a manifest, and where it is
asked for ExecuTorch's files for Android and iOS apps. An export that is there and still right is kept.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from search_space import command_line
from search_space.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from studies.selection import SelectedTrial


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Exports a trained trial as ONNX, Core ML, safetensors, a diffusers-style folder and a model card."""

    trial: Annotated[int | None, tyro.conf.Positional] = None
    """Number of the trial."""
    best: bool = False
    """Export the trial that studies.run would choose."""
    study: str | None = None
    """The study; the newest one by default."""
    storage: str | None = None
    """Database URL: sqlite:///file.db or postgresql://user:password@host/database; a file in --out by default."""
    out: Path = Path("workspace")
    """Folder of the study and the trained model, as for studies.run; the export goes into it."""
    executorch: bool = False
    """Write ExecuTorch's .pte files as well, for Android and iOS apps: a minute for a small UNet; needs executorch."""
    json: bool = False
    """Print the paths as one JSON line on stdout."""


def export(options: ExportOptions) -> None:
    """The command."""
    from studies.lease import study_lease
    from studies.selection import open_existing, select_trial, storage_url

    engine = open_existing(storage_url(options.storage, options.out))
    trial = select_trial(engine, options.study, number=options.trial, is_best=options.best)
    with study_lease(engine, trial.study.name):
        paths = export_trial(trial, engine, workspace=options.out, with_executorch=options.executorch)
    print(f"exported: {paths['card'].parent}", file=sys.stderr)
    if options.json:
        exported = {kind: str(path) for kind, path in paths.items()}
        command_line.print_json(
            {
                "study": trial.study.name,
                "trial": trial.number,
                "arch_id": trial.arch.arch_id,
                "exported": exported,
            }
        )


def export_trial(
    trial: "SelectedTrial", engine: "Engine", *, workspace: Path, with_executorch: bool = False
) -> dict[str, Path]:
    """Exports what `studies.train` left of a trial, and registers every path.

    Raises:
        UsageError: The trial was not trained, or a file of its training was changed.
        SnapNASError: An exported file does not agree with torch.
    """
    from profilers.latency_table import LatencyTable
    from profilers.storage import display_url
    from studies.card import latency_rows
    from studies.exported import export_trained
    from studies.provenance import study_device
    from studies.selection import storage_url
    from studies.trained import load_trained
    from studies.writer import StudyWriter

    folder = trial.folder(workspace)
    if not (folder / "trained").exists():
        storage = display_url(engine.url)
        flag = "" if storage == display_url(storage_url(None, workspace)) else f" --storage {storage}"
        raise UsageError(
            f"trial {trial.number} of {trial.study.name!r} has no trained weights in {folder}",
            fix=f"python -m studies.train {trial.number} --study {trial.study.name} --out {workspace}{flag}",
        )
    trained = load_trained(folder / "trained")
    table = LatencyTable(engine)
    device = study_device(table, trial.study)
    latencies = latency_rows(trial.arch, table, device, interpolate=trial.study.is_interpolated)
    paths = export_trained(trained, folder=folder / "exported", latencies=latencies, with_executorch=with_executorch)
    writer = StudyWriter(engine, trial.study.name)
    for kind, path in paths.items():
        writer.add_artifact(trial.number, kind, path, workspace=workspace)
    return paths


if __name__ == "__main__":
    command_line.run(export, ExportOptions, prog="studies.export")
