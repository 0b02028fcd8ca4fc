"""A folder for as long as somebody holds it. What a killed process left behind, the next one takes over or removes.

Exports of a campaign are gigabytes, and nobody else would ever know whether they are still needed. So a lock stands
beside them, which the system drops when the process that holds it ends, however it ends. Where machines or containers
share a disk they see each other's locks; a process's number would mean another process there, or one that lives on.
The name of the work is part of a folder's name: exports of large networks take an hour, and whoever goes on with the
same work within a day starts with those that are there.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self

from search_space.errors import StorageError

_MAX_AGE_S = 24 * 3600.0  # of what was left behind for the same work to go on with
_FOLDER, _REMOVED_FOLDER = "files", "removed"
_LOCK_FILE, _NEW_LOCK_FILE = "lock", "new-lock"


class FullDiskError(StorageError):
    """A disk is full, or the part of it that the user may fill."""

    @classmethod
    def at(cls, folder: Path) -> Self:
        """The error of the disk that holds the folder."""
        return cls(
            f"the disk that holds {folder} is full; nothing that was measured is lost",
            fix="make room, or set TMPDIR to a folder on another disk, and run the same command again",
        )


class TemporaryFolder:
    """A folder that this process holds, until it lets go of it or ends. From `new_folder`.

    A child that is forked without running another program holds it too.
    """

    def __init__(self, place: Path, lock: IO[bytes]) -> None:
        """Holds what lies at a place as long as its locked file stays open."""
        self._place = place
        self._lock = lock

    @property
    def path(self) -> Path:
        return self._place / _FOLDER

    def remove(self) -> None:
        """Removes the folder and lets go of it; it may have been removed before."""
        with contextlib.suppress(OSError):
            self.path.rename(self._place / _REMOVED_FOLDER)  # killed half-way, it is not taken for whole
        shutil.rmtree(self._place, ignore_errors=True)
        self.leave()

    def leave(self) -> None:
        """Lets go of the folder: whoever comes next may have it."""
        self._lock.close()


@contextlib.contextmanager
def inherited_folder(prefix: str, *, work: str) -> Iterator[Path]:
    """Makes a folder for the length of a `with` block; a block that does not come to its end leaves it to the next one.

    Where the disk is full it makes room instead.

    Args:
        prefix: As for `new_folder`.
        work: What the folder is for, in letters and digits: the next block with this work finds what this one wrote.
            If it is empty, nothing is left and nothing found.
    """
    folder = new_folder(prefix, work=work)
    try:
        yield folder.path
    except FullDiskError:
        folder.remove()
        raise
    except BaseException:
        if work:
            folder.leave()
        else:
            folder.remove()
        raise
    folder.remove()


@contextlib.contextmanager
def full_disk_named() -> Iterator[None]:
    """Raises `FullDiskError` where the system says that there is no room for a temporary file."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FullDiskError.at(Path(tempfile.gettempdir())) from error
        raise


def new_folder(prefix: str, *, work: str = "") -> TemporaryFolder:
    """Makes a folder, or takes over one of the same work that was left behind; its process removes it.

    Args:
        prefix: What its name begins with; only folders with the same one are looked at for what was left behind.
        work: What it is for, if a folder of the same work that was left behind is to become this one.

    Raises:
        FullDiskError: The disk is full.
    """
    taken_over: TemporaryFolder | None = None
    for place in Path(tempfile.gettempdir()).glob(f"{prefix}*-*-*"):
        _, left_work, _ = place.name.removeprefix(prefix).split("-", 2)
        with contextlib.suppress(OSError):  # another process was faster
            is_old = time.time() - _last_used_s(place) > _MAX_AGE_S
            if not (left_work in ("", work) or is_old) or not _is_own(place):
                continue
            left_behind = _hold(place, makes_lock=is_old)
            if left_behind is None:
                continue
            if work and left_work == work and taken_over is None and left_behind.path.is_dir():
                taken_over = left_behind
            else:
                left_behind.remove()
    return taken_over or _make(prefix, work)


def _make(prefix: str, work: str) -> TemporaryFolder:
    """The process's number in its name is for people only."""
    with full_disk_named():
        place = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-{work}-"))
        (place / _FOLDER).mkdir()
        lock = (place / _NEW_LOCK_FILE).open("a+b")
        with contextlib.suppress(OSError):  # on a disk without locks nobody can take it over either
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (place / _NEW_LOCK_FILE).rename(place / _LOCK_FILE)  # it appears locked
    return TemporaryFolder(place, lock)


def _hold(place: Path, *, makes_lock: bool) -> TemporaryFolder | None:
    """Takes what nobody holds; None if somebody does, or nobody knows.

    What has no lock is being made or removed at this moment, unless it is so old that its lock may be made.
    """
    # For writing: over NFS only such a file can be locked for one process alone.
    lock = (place / _LOCK_FILE).open("a+b" if makes_lock else "r+b")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(
            os.fstat(lock.fileno()), (place / _LOCK_FILE).stat()
        ):  # or it was removed before it was locked
            return TemporaryFolder(place, lock)
    except OSError:
        pass
    lock.close()
    return None


def _last_used_s(place: Path) -> float:
    folder = place / _FOLDER
    return (folder if folder.is_dir() else place).stat().st_mtime


def _is_own(place: Path) -> bool:
    """Whether this user made it: in a folder that all users share, anybody can make one of any name."""
    return place.is_dir() and place.lstat().st_uid == os.getuid()
