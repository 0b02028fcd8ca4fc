import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from profilers.temporary_folder import new_folder, temporary_folder

PREFIX = "snapnas-test-"


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_it_is_gone_after_the_block() -> None:
    with temporary_folder(PREFIX) as folder:
        (folder / "file").write_text("x")
    assert not folder.exists()


def test_what_a_dead_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, nobodys = tmp_path / f"{PREFIX}{ended.pid}-abc", tmp_path / f"{PREFIX}x-abc"
    for folder in (left, nobodys):
        folder.mkdir()
        (folder / "file").write_text("x")
    first = new_folder(PREFIX)
    second = new_folder(PREFIX)
    assert not left.exists()
    assert nobodys.is_dir()
    assert first.is_dir()
    assert second.is_dir()
