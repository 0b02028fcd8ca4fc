import contextlib
import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import Mock

import pytest

from profilers.temporary_folder import FullDiskError, inherited_folder, new_folder

PREFIX = "snapnas-test-"


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def left_behind(*, work: str = "", name: str = "file") -> Path:
    """The place of a folder with something in it, which nobody holds any more."""
    folder = new_folder(PREFIX, work=work)
    (folder.path / name).write_text("x")
    folder.leave()
    return folder.path.parent


def let_age(folder: Path) -> None:
    two_days_ago_s = time.time() - 2 * 24 * 3600
    os.utime(folder, (two_days_ago_s, two_days_ago_s))


def folder_after(error: BaseException | None, tmp_path: Path, *, work: str) -> list[Path]:
    """What is left of a block with this work that ends with this error."""
    with (
        contextlib.suppress(ValueError, FullDiskError, KeyboardInterrupt),
        inherited_folder(PREFIX, work=work) as folder,
    ):
        (folder / "file").write_text("x")
        if error is not None:
            raise error
    return list(tmp_path.iterdir())


def test_it_is_gone_after_the_block_and_where_the_disk_is_full(tmp_path: Path) -> None:
    assert folder_after(None, tmp_path, work="a") == []
    assert folder_after(FullDiskError("full"), tmp_path, work="a") == []


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()])
def test_a_block_that_ends_early_leaves_its_folder_if_its_work_has_a_name(tmp_path: Path, error: BaseException) -> None:
    assert folder_after(error, tmp_path, work="") == []
    assert len(folder_after(error, tmp_path, work="a")) == 1


def test_what_nobody_holds_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for_others, for_too_long = left_behind(work="a"), left_behind(work="b")
    let_age(for_too_long / "files")
    strangers = tmp_path / f"{PREFIX}1--abc"
    strangers.mkdir()
    forgotten = tmp_path / f"{PREFIX}2-c-abc"
    forgotten.mkdir()
    let_age(forgotten)
    left = left_behind()
    with inherited_folder(PREFIX, work="") as first, inherited_folder(PREFIX, work="d") as second:
        assert set(tmp_path.iterdir()) == {first.parent, second.parent, for_others, strangers}
    assert not left.exists()


def test_the_same_work_takes_over_what_was_left_of_it_and_no_other(tmp_path: Path) -> None:
    same = left_behind(work="a1")
    same.rename(tmp_path / "aside")
    left_behind(work="a1")
    (tmp_path / "aside").rename(same)
    other = left_behind(work="a12")
    with inherited_folder(PREFIX, work="a1") as folder:
        assert (folder / "file").exists()
        assert set(tmp_path.iterdir()) == {folder.parent, other}
        with inherited_folder(PREFIX, work="a1") as another:
            assert list(another.iterdir()) == []
            assert set(tmp_path.iterdir()) == {folder.parent, another.parent, other}
        assert (folder / "file").exists()


def test_who_holds_a_folder_is_not_told_by_a_process_number(tmp_path: Path) -> None:
    """In another container a number means another process: ours looked dead there, and a killed one's alive."""
    held = new_folder(PREFIX, work="a")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    looks_dead = held.path.parent.rename(tmp_path / f"{PREFIX}{ended.pid}-a-abc")
    looks_alive = left_behind(work="b").rename(tmp_path / f"{PREFIX}{os.getpid()}-b-abc")
    with inherited_folder(PREFIX, work="a") as folder:
        assert set(tmp_path.iterdir()) == {folder.parent, looks_dead, looks_alive}
    with inherited_folder(PREFIX, work="b") as folder:
        assert folder.parent == looks_alive
    held.leave()


def test_a_killed_process_lets_go_though_its_children_live_on(tmp_path: Path) -> None:
    code = "import subprocess, sys, tempfile; from profilers.temporary_folder import new_folder\n"
    code += f"tempfile.tempdir = {str(tmp_path)!r}; folder = new_folder({PREFIX!r}, work='a')\n"
    code += "child = subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL)\n"
    code += "print(child.pid, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        child_id = int(process.stdout.readline())
        (place,) = tmp_path.iterdir()
        with inherited_folder(PREFIX, work="a") as folder:
            assert folder.parent != place
        process.kill()
    with inherited_folder(PREFIX, work="a") as folder:
        assert folder.parent == place
    os.kill(child_id, signal.SIGKILL)


def test_what_was_half_removed_is_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = new_folder(PREFIX, work="a")
    (folder.path / "file").write_text("x")
    with monkeypatch.context() as context:
        context.setattr("profilers.temporary_folder.shutil.rmtree", lambda *_, **__: None)
        folder.remove()
    (half_removed,) = tmp_path.iterdir()
    with inherited_folder(PREFIX, work="a") as whole:
        assert list(whole.iterdir()) == []
        assert not half_removed.exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_without_room_for_a_folder_is_a_full_disk(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(tempfile, "mkdtemp", Mock(side_effect=OSError(number, os.strerror(number))))
    with pytest.raises(FullDiskError, match="TMPDIR"):
        new_folder(PREFIX)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_what_another_user_made_is_left_alone() -> None:
    planted = left_behind(work="a")
    os.chown(planted, 12345, 12345)
    with inherited_folder(PREFIX, work="a") as folder:
        assert list(folder.iterdir()) == []
    assert (planted / "files/file").exists()
