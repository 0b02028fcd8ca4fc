"""A folder for as long as its process lives. What a killed process left behind, the next one takes over or removes.

The process's number is part of the folder's name: exports of a campaign are gigabytes, and nobody else would ever know
whether they are still needed. The name of the work is another: exports of large networks take an hour, and whoever
goes on with the same work starts with those that are there.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def inherited_folder(prefix: str, *, work: str) -> Iterator[Path]:
    """Makes a folder for the length of a `with` block; a block that is interrupted leaves it to the next one.

    Args:
        prefix: As for `new_folder`.
        work: What the folder is for, in letters and digits: the next block with this work finds what this one wrote.
    """
    folder = new_folder(prefix, work=work)
    try:
        yield folder
    except Exception:  # Ctrl-C and SIGTERM are none
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def new_folder(prefix: str, *, work: str = "") -> Path:
    """Makes a folder that its process removes itself.

    Args:
        prefix: What its name begins with; only folders with the same one are looked at for what was left behind.
        work: What it is for, if a folder of the same work that was left behind is to become this one.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-{work}-"))
    for left_behind in folder.parent.glob(f"{prefix}*-*"):
        process_id, _, rest = left_behind.name.removeprefix(prefix).partition("-")
        if not process_id.isdigit() or _is_alive(int(process_id)):
            continue
        if work and rest.startswith(f"{work}-") and _is_own(left_behind):
            with contextlib.suppress(OSError):  # another process was faster, or this folder has already become one
                left_behind.replace(folder)
        shutil.rmtree(left_behind, ignore_errors=True)
    return folder


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _is_own(folder: Path) -> bool:
    """Whether this user made it: in a folder that all users share, anybody can make one of any name."""
    return folder.lstat().st_uid == os.getuid()
