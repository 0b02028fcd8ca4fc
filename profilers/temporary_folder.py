"""A folder for as long as its process lives. What a killed process left behind, the next one takes over or removes.

The process's number is part of the folder's name: exports of a campaign are gigabytes, and nobody else would ever know
whether they are still needed. The name of the work is another: exports of large networks take an hour, and whoever
goes on with the same work within a day starts with those that are there.
"""

import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from search_space.errors import StorageError

_MAX_AGE_S = 24 * 3600.0  # of what was left behind for the same work to go on with


class FullDiskError(StorageError):
    """The disk that holds temporary folders is full."""


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
        yield folder
    except FullDiskError:
        _remove(folder, prefix)
        raise
    except BaseException:
        if not work:
            _remove(folder, prefix)
        raise
    _remove(folder, prefix)


def new_folder(prefix: str, *, work: str = "") -> Path:
    """Makes a folder that its process removes itself.

    Args:
        prefix: What its name begins with; only folders with the same one are looked at for what was left behind.
        work: What it is for, if a folder of the same work that was left behind is to become this one.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-{work}-"))
    for left_behind in folder.parent.glob(f"{prefix}*-*"):
        process_id, _, rest = left_behind.name.removeprefix(prefix).partition("-")
        with contextlib.suppress(OSError):  # another process was faster, or it is not ours
            if not process_id.isdigit() or _is_alive(int(process_id)):
                continue
            left_work = rest.partition("-")[0]
            if left_work and left_work == work and _is_own(left_behind) and not any(folder.iterdir()):
                left_behind.replace(folder)
            elif not left_work or left_work == work or time.time() - left_behind.stat().st_mtime > _MAX_AGE_S:
                _remove(left_behind, prefix)
    return folder


def _remove(folder: Path, prefix: str) -> None:
    """Removes a folder, under a name for no work: killed half-way, it is not taken for whole."""
    doomed = folder.with_name(f"{prefix}{os.getpid()}--{secrets.token_hex(8)}")
    with contextlib.suppress(OSError):
        folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # somebody else's, or no process's number at all
        return True
    return True


def _is_own(folder: Path) -> bool:
    """Whether this user made it: in a folder that all users share, anybody can make one of any name."""
    return folder.lstat().st_uid == os.getuid()
