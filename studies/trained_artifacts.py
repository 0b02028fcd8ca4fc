"""What a full training leaves for the database, and its scores read back so that a page can show them.

Imports torch only where a training has imported it already.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import FiniteFloat, TypeAdapter, ValidationError

from studies.artifact_files import read_artifact
from studies.results import Artifact
from studies.writer import StudyWriter

if TYPE_CHECKING:  # imports torch
    from studies.trained import TrainedWinner

_SCORES_KIND = "scores"
_FIRST = ("overall", "velocity_error")


def register_trained(writer: StudyWriter, number: int, trained: "TrainedWinner", *, workspace: Path) -> None:
    """Writes down the picture, weights and scores of a trial that was fully trained."""
    from studies.trained import SCORES_FILE

    paths = {"grid": trained.grid, "weights": trained.weights, _SCORES_KIND: trained.folder / SCORES_FILE}
    for kind, path in paths.items():
        writer.add_artifact(number, kind, path, workspace=workspace)


def trained_scores(workspace: Path, artifacts: Iterable[Artifact]) -> Mapping[str, float]:
    """Held-out scores by name; empty for a trial without a full training, or whose file is not there any more."""
    for artifact in artifacts:
        if artifact.kind == _SCORES_KIND and (content := read_artifact(workspace, artifact)) is not None:
            try:
                return TypeAdapter(dict[str, FiniteFloat]).validate_json(content)
            except ValidationError:
                continue
    return {}


def score_facts(scores: Mapping[str, float]) -> Sequence[tuple[str, str]]:
    """Scores as name and value, the overall score first."""
    names = sorted(scores, key=lambda name: (name not in _FIRST, name))
    return [(name.replace("_", " "), f"{scores[name]:.4g}") for name in names]
