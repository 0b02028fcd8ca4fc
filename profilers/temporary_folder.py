"""A folder for as long as its process lives. What a killed process left behind, the next one removes.

The process's number is part of the folder's name: exports of a campaign are gigabytes, and nobody else would ever know
whether they are still needed.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Makes a folder for the length of a `with` block."""
    folder = new_folder(prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_folder(prefix: str) -> Path:
    """Makes a folder that its process removes itself.

    Args:
        prefix: What its name begins with; only folders with the same one are looked at for what was left behind.
    """
    for left_behind in Path(tempfile.gettempdir()).glob(f"{prefix}*-*"):
        process_id = left_behind.name.removeprefix(prefix).partition("-")[0]
        if process_id.isdigit() and not _is_alive(int(process_id)):
            shutil.rmtree(left_behind, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-"))


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
