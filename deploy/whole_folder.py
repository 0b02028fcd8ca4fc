"""A folder that appears under its name only when everything in it has been written.

An export is a folder of several files that belong together; half of one is worse than none, because it looks finished.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` to build the folder at, and moves it to `path` if the block ends without an error.

    The folder does not exist yet when the block starts, and has the same name, suffix included. What stood at `path`
    before is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as workplace:
        new, old = Path(workplace) / path.name, Path(workplace) / "replaced"
        yield new
        if path.is_dir():
            os.replace(path, old)  # a folder cannot be renamed over one that has files
        os.replace(new, path)
