"""`python -m studies.train` trains what was named, registers it, and tells a user's mistake from its own."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from profilers.storage import open_engine
from search_space.counts import count
from search_space.errors import UsageError
from search_space.space import random_arch
from search_space.spaces import search_space
from studies.results import StudyReader
from studies.train import train
from studies.train_options import TrainOptions
from studies.trained_artifacts import trained_scores
from tests.studies.small_study import STUDY, make_small_study
from tests.studies.small_training import small_arch

ROOT = Path(__file__).parents[2]


def _run(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "studies.train", *map(str, arguments)],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_dry_run_of_a_file_counts_and_touches_nothing(tmp_path: Path) -> None:
    arch = random_arch(search_space("tiny"), 0)
    (tmp_path / "arch.json").write_text(arch.to_json())
    completed = _run("--arch", "arch.json", "--steps", 7, "--dry-run", "--json", folder=tmp_path)
    assert completed.returncode == 0, completed.stderr
    plan = json.loads(completed.stdout)
    assert (plan["arch_id"], plan["num_steps"]) == (arch.arch_id, 7)
    assert plan["num_params"] == count(arch).num_params
    assert [path.name for path in tmp_path.iterdir()] == ["arch.json"]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (("--arch", "missing.json"), 2, "cannot read missing.json"),
        (("0",), 4, "there is no database at sqlite:///workspace/snapnas.db"),
    ],
)
def test_a_mistake_ends_with_its_exit_code_and_three_lines(
    tmp_path: Path, arguments: tuple[str, ...], exit_code: int, message: str
) -> None:
    completed = _run(*arguments, folder=tmp_path)
    assert (completed.returncode, completed.stdout) == (exit_code, "")
    assert completed.stderr.startswith(message)
    assert len(completed.stderr.splitlines()) <= 3
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_does_not_fit_is_refused_before_any_training(tmp_path: Path) -> None:
    (tmp_path / "arch.json").write_text(small_arch().to_json())
    with pytest.raises(UsageError, match="12 channels and side 16"):
        train(TrainOptions(arch=tmp_path / "arch.json", out=tmp_path))
    with pytest.raises(UsageError, match="one of TRIAL, --best and --arch FILE"):
        train(TrainOptions(arch=tmp_path / "arch.json", best=True))
    (tmp_path / "arch.json").write_text('{"stages": 1}')
    with pytest.raises(UsageError, match="architecture JSON"):
        train(TrainOptions(arch=tmp_path / "arch.json", out=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["arch.json"]


def test_a_trial_is_trained_registered_and_not_trained_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = open_engine(make_small_study(tmp_path))
    train(TrainOptions(trial=2, out=tmp_path, steps=3, json=True))  # a duplicate of trial 0
    document = json.loads(capsys.readouterr().out)
    assert (document["study"], document["trial"], document["num_steps"]) == (STUDY, 0, 3)
    assert document["scores"]["velocity_error"] > 0

    artifacts = {artifact.kind: artifact for artifact in StudyReader(engine).artifacts(STUDY, 0)}
    assert artifacts.keys() == {"grid", "scores", "weights"}
    assert artifacts["grid"].path == "studies/small/trial-0000/trained/samples.png"
    assert trained_scores(tmp_path, artifacts.values()) == document["scores"]
    weights = (tmp_path / artifacts["weights"].path).read_bytes()
    assert artifacts["weights"].sha256 == hashlib.sha256(weights).hexdigest()

    train(TrainOptions(trial=0, out=tmp_path, steps=3, json=True))
    assert json.loads(capsys.readouterr().out) == document
    with pytest.raises(UsageError, match="another training"):
        train(TrainOptions(trial=0, out=tmp_path, steps=4))


def test_a_file_is_trained_with_the_settings_of_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_small_study(tmp_path)
    (tmp_path / "arch.json").write_text(small_arch(32).to_json())
    train(TrainOptions(arch=tmp_path / "arch.json", study=STUDY, out=tmp_path, steps=2, json=True))
    document = json.loads(capsys.readouterr().out)
    assert document["trial"] is None
    assert Path(document["folder"]) == tmp_path / "archs" / small_arch(32).arch_id / "trained"
    assert (tmp_path / "archs" / small_arch(32).arch_id / "trained" / "manifest.json").is_file()
