"""`python -m studies.export` takes a trained trial out, registers every path, and refuses what was not trained."""

import json
from pathlib import Path

import pytest

from deploy.weights import verify_manifest
from profilers.backends.exact import ExactBackend
from profilers.storage import open_engine
from search_space.errors import StorageError, UsageError
from studies.export import ExportOptions, export
from studies.exported import PATHS_BY_KIND
from studies.results import StudyReader
from studies.train import train
from studies.train_options import TrainOptions
from tests.studies.small_study import STUDY, make_small_study
from tests.studies.small_training import small_arch


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose trial 0 is trained."""
    folder = tmp_path_factory.mktemp("workspace")
    make_small_study(folder)
    train(TrainOptions(trial=0, out=folder, steps=2))
    return folder


def test_a_trial_that_was_not_trained_names_the_command(workspace: Path) -> None:
    with pytest.raises(UsageError) as refusal:
        export(ExportOptions(trial=1, out=workspace))
    given, fix = str(refusal.value).splitlines()
    assert given.startswith("trial 1 of 'small' has no trained weights")
    assert fix == f"fix: python -m studies.train 1 --study small --out {workspace}"


def test_a_missing_database_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no database"):
        export(ExportOptions(best=True, out=tmp_path))


def test_a_trained_trial_is_exported_and_registered(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(ExportOptions(trial=0, out=workspace, json=True))
    document = json.loads(capsys.readouterr().out)
    assert (document["study"], document["trial"], document["arch_id"]) == (STUDY, 0, small_arch().arch_id)
    assert document["exported"].keys() == PATHS_BY_KIND.keys() - {"executorch"}  # which was not asked for
    assert all(Path(path).exists() for path in document["exported"].values())

    card = Path(document["exported"]["card"])
    verify_manifest(card.parent)
    assert f"exact ({ExactBackend().device.device_id})" in card.read_text()
    artifacts = StudyReader(open_engine(f"sqlite:///{workspace}/snapnas.db")).artifacts(STUDY, 0)
    exported = {artifact.kind: artifact.path for artifact in artifacts if "/exported/" in artifact.path}
    assert {kind: str(workspace / path) for kind, path in exported.items()} == document["exported"]


def test_weights_that_were_changed_are_not_exported(workspace: Path) -> None:
    weights = workspace / "studies" / STUDY / "trial-0000" / "trained" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UsageError, match="model.safetensors is not the file") as refusal:
        export(ExportOptions(trial=0, out=workspace))
    assert len(str(refusal.value).splitlines()) <= 3
