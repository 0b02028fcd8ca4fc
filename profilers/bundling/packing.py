"""Packs a Core ML package, a folder, into one file; `run_bundle.load_packed` unpacks it."""

import os
import zipfile
from pathlib import Path


def pack(package: Path, path: Path) -> None:
    """Packs a package into a zip file that appears under its name when it is whole.

    Empty folders too: a package without large weights names one, and Core ML refuses it where that is missing.
    """
    temporary_path = path.with_name(f".{path.name}")
    with zipfile.ZipFile(temporary_path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path_inside in sorted(package.rglob("*")):
            archive.write(path_inside, path_inside.relative_to(package))
    os.replace(temporary_path, path)
