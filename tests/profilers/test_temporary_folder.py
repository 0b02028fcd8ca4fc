import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from profilers.temporary_folder import FullDiskError, inherited_folder, new_folder

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


def test_what_a_dead_process_left_is_removed_and_nothing_else(tmp_path: Path, dead_process_id: int) -> None:
    left = left_behind(tmp_path / f"{PREFIX}{dead_process_id}--abc")
    for_others = left_behind(tmp_path / f"{PREFIX}{dead_process_id}-a-abc")
    for_too_long = left_behind(tmp_path / f"{PREFIX}{dead_process_id}-b-abc")
    two_days_ago_s = time.time() - 2 * 24 * 3600
    os.utime(for_too_long, (two_days_ago_s, two_days_ago_s))
    nobodys = [left_behind(tmp_path / f"{PREFIX}{number}-abc") for number in ("x", "9" * 30)]
    first = new_folder(PREFIX)
    second = new_folder(PREFIX)
    assert set(tmp_path.iterdir()) == {first, second, for_others, *nobodys}
    assert not left.exists()
    assert not for_too_long.exists()


def test_the_same_work_takes_over_what_was_left_of_it_and_no_other(tmp_path: Path, dead_process_id: int) -> None:
    same = left_behind(tmp_path / f"{PREFIX}{dead_process_id}-a1-abc")
    same_again = left_behind(tmp_path / f"{PREFIX}{dead_process_id}-a1-def")
    other = left_behind(tmp_path / f"{PREFIX}{dead_process_id}-a12-abc")
    at_work = left_behind(tmp_path / f"{PREFIX}{os.getpid()}-a1-abc")
    with inherited_folder(PREFIX, work="a1") as folder:
        assert (folder / "file").read_text() in (same.name, same_again.name)
        assert set(tmp_path.iterdir()) == {folder, other, at_work}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_what_another_user_made_is_not_taken_over(tmp_path: Path, dead_process_id: int) -> None:
    planted = left_behind(tmp_path / f"{PREFIX}{dead_process_id}-a-abc")
    os.chown(planted, 12345, 12345)
    with inherited_folder(PREFIX, work="a") as folder:
        assert list(folder.iterdir()) == []
