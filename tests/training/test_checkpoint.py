"""Checkpoints: what was written is read back, whatever is damaged and whenever the writer is killed."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import torch

from training.checkpoint import load_newest_checkpoint, save_checkpoint

_FILE_EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}


def _save(folder: Path, step: int) -> None:
    save_checkpoint(folder, step=step, tensors={"weight": torch.full((3,), float(step))}, document={"step_was": step})


def test_a_round_trip_returns_tensors_and_document(tmp_path: Path) -> None:
    _save(tmp_path, 7)
    checkpoint = load_newest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.document) == (7, {"step_was": 7})
    assert torch.equal(checkpoint.tensors["weight"], torch.full((3,), 7.0))


def test_an_empty_or_missing_folder_holds_no_checkpoint(tmp_path: Path) -> None:
    assert load_newest_checkpoint(tmp_path) is None
    assert load_newest_checkpoint(tmp_path / "missing") is None


def test_only_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        _save(tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-00000003", "step-00000004"]


@pytest.mark.parametrize("file", ["state.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_a_damaged_newest_falls_back_to_the_one_before_and_warns(
    tmp_path: Path, file: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    _save(tmp_path, 1)
    _save(tmp_path, 2)
    path = tmp_path / "step-00000002" / file
    content = bytearray(path.read_bytes())
    match damage:
        case "flip":
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        case "truncate":
            path.write_bytes(content[: len(content) // 2])
        case "delete":
            path.unlink()
    checkpoint = load_newest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.step == 1
    assert "step-00000002 is damaged" in caplog.text


@pytest.mark.parametrize("content", ["", "step-99999999\n", "\x00\xff"])
def test_a_damaged_pointer_costs_nothing(tmp_path: Path, content: str) -> None:
    _save(tmp_path, 1)
    _save(tmp_path, 2)
    (tmp_path / "latest").write_text(content)
    checkpoint = load_newest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.step == 2


def test_a_kill_at_any_file_operation_leaves_a_loadable_checkpoint(tmp_path: Path) -> None:
    was_killed, operation = True, 0
    while was_killed:
        folder = tmp_path / str(operation)
        _save(folder, 1)
        _save(folder, 2)
        was_killed = _save_in_a_child_killed_at(folder, operation)
        checkpoint = load_newest_checkpoint(folder)
        assert checkpoint is not None
        assert checkpoint.step in (2, 3)
        assert checkpoint.document == {"step_was": checkpoint.step}
        _save(folder, 4)
        assert not list(folder.glob(".writing-*"))
        operation += 1
    assert operation > 15


def _save_in_a_child_killed_at(folder: Path, operation: int) -> bool:
    """Saves step 3 in a forked process that kills itself just before file operation number `operation`."""
    process_id = os.fork()
    if process_id == 0:
        remaining = [operation]

        def kill_in_time(event: str, _: tuple[object, ...]) -> None:
            if event in _FILE_EVENTS:
                if remaining[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                remaining[0] -= 1

        sys.addaudithook(kill_in_time)
        _save(folder, 3)
        os._exit(0)
    _, status = os.waitpid(process_id, 0)
    return os.WIFSIGNALED(status)


def test_the_manifest_holds_sha256_and_size(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    manifest = json.loads((tmp_path / "step-00000001" / "manifest.json").read_text())
    assert set(manifest) == {"state.safetensors", "state.json"}
    assert manifest["state.json"]["size_bytes"] == (tmp_path / "step-00000001" / "state.json").stat().st_size
    assert len(manifest["state.json"]["sha256"]) == 64
