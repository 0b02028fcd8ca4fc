"""Packs a Core ML package, a folder, into one file; `run_bundle.unpacked` is the way back."""

import os
import zipfile
from pathlib import Path


def pack(package: Path, path: Path) -> None:
    """Packs a package's files into a zip file that appears under its name when it is whole."""
    temporary_path = path.with_name(f".{path.name}")
    with zipfile.ZipFile(temporary_path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in sorted(package.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(package))
    os.replace(temporary_path, path)
