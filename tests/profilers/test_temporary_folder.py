import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from profilers.temporary_folder import inherited_folder, new_folder

PREFIX = "snapnas-test-"


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def dead_process_id() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def left_behind(folder: Path) -> Path:
    """A folder with something in it."""
    folder.mkdir()
    (folder / "file").write_text(folder.name)
    return folder


@pytest.mark.parametrize("error", [None, ValueError])
def test_it_is_gone_after_the_block(error: type[Exception] | None) -> None:
    try:
        with inherited_folder(PREFIX, work="a") as folder:
            (folder / "file").write_text("x")
            if error is not None:
                raise error
    except ValueError:
        pass
    assert not folder.exists()


def test_what_a_dead_process_left_is_removed_and_nothing_else(tmp_path: Path, dead_process_id: int) -> None:
    left = left_behind(tmp_path / f"{PREFIX}{dead_process_id}--abc")
    nobodys = left_behind(tmp_path / f"{PREFIX}x-abc")
    first = new_folder(PREFIX)
    second = new_folder(PREFIX)
    assert not left.exists()
    assert nobodys.is_dir()
    assert first.is_dir()
    assert second.is_dir()


def test_the_same_work_takes_over_what_was_left_of_it_and_no_other(tmp_path: Path, dead_process_id: int) -> None:
    same = left_behind(tmp_path / f"{PREFIX}{dead_process_id}-a1-abc")
    same_again = left_behind(tmp_path / f"{PREFIX}{dead_process_id}-a1-def")
    other = left_behind(tmp_path / f"{PREFIX}{dead_process_id}-a12-abc")
    at_work = left_behind(tmp_path / f"{PREFIX}{os.getpid()}-a1-abc")
    with inherited_folder(PREFIX, work="a1") as folder:
        assert (folder / "file").read_text() in (same.name, same_again.name)
        assert {path.name for path in tmp_path.iterdir()} == {folder.name, at_work.name}
    assert not other.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_what_another_user_made_is_not_taken_over(tmp_path: Path, dead_process_id: int) -> None:
    planted = left_behind(tmp_path / f"{PREFIX}{dead_process_id}-a-abc")
    os.chown(planted, 12345, 12345)
    with inherited_folder(PREFIX, work="a") as folder:
        assert list(folder.iterdir()) == []


def test_an_interrupted_block_leaves_its_folder(tmp_path: Path) -> None:
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(KeyboardInterrupt))
        folder = stack.enter_context(inherited_folder(PREFIX, work="a"))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == [folder]
