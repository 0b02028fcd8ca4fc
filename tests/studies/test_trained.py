"""A winner's folder is whole, proves itself, is not made twice, and a killed training ends as a straight one does."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from search_space.errors import UsageError
from studies.trained import load_trained
from tests.studies.small_training import small_arch, small_config, train_small

ROOT = Path(__file__).parents[2]
NUM_STEPS = 24


def test_a_killed_training_resumes_to_the_bits_of_a_straight_one(tmp_path: Path) -> None:
    folder, workspace = tmp_path / "killed", tmp_path / "workspace"
    checkpoints = tmp_path / "killed.checkpoints"
    code = (
        "import sys, pathlib\n"
        "from tests.studies.small_training import small_config, train_small\n"
        "folder, workspace = map(pathlib.Path, sys.argv[1:])\n"
        f"train_small(folder, workspace=workspace, config=small_config(num_steps={NUM_STEPS}))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, folder, workspace], cwd=ROOT, stderr=subprocess.DEVNULL)
    while not list(checkpoints.glob("step-*")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not folder.exists()

    config = small_config(num_steps=NUM_STEPS)
    resumed = train_small(folder, workspace=workspace, config=config)
    straight = train_small(tmp_path / "straight", workspace=workspace, config=config)
    assert not checkpoints.exists()
    assert resumed.scores == straight.scores
    assert resumed.grid.read_bytes() == straight.grid.read_bytes()
    for name, tensor in straight.load().state_dict().items():
        assert torch.equal(resumed.load().state_dict()[name], tensor), name


def test_a_finished_training_is_loaded_and_not_done_again(tmp_path: Path) -> None:
    first = train_small(tmp_path / "trained", workspace=tmp_path)
    written_at = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    assert train_small(tmp_path / "trained", workspace=tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in first.folder.iterdir()} == written_at

    assert first.load().arch == small_arch()
    assert json.loads((first.folder / "scores.json").read_text()) == first.scores
    assert {"overall", "velocity_error", "single_object", "num_samples"} <= first.scores.keys()
    with Image.open(first.grid) as grid:
        assert grid.width > grid.height  # four pictures in one row

    config = dataclasses.replace(small_config(), num_score_prompts=5)
    with pytest.raises(UsageError, match="another num_score_prompts") as refusal:
        train_small(tmp_path / "trained", workspace=tmp_path, config=config)
    assert len(str(refusal.value).splitlines()) <= 3


def test_changed_weights_are_noticed(tmp_path: Path) -> None:
    trained = train_small(tmp_path / "trained", workspace=tmp_path)
    weights = trained.folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UsageError, match="model.safetensors is not the file") as refusal:
        load_trained(trained.folder)
    assert len(str(refusal.value).splitlines()) <= 3
