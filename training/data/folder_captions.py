"""Finds the images of a folder and their captions; the files come from strangers, so nothing in them is trusted.

A row that names no caption, an image that is not there or a path that leads out of the folder is an error with the
row's number, because it means that the folder is not what its owner thinks it is.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, Field, ValidationError

from search_space.errors import UsageError

IMAGE_SUFFIXES: Final[tuple[str, ...]] = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_METADATA_NAMES: Final[tuple[str, ...]] = ("metadata.jsonl", "metadata.csv")


@dataclass(frozen=True, kw_only=True)
class CaptionedFile:
    """One image and what it shows."""

    path: Path
    """The image, inside the folder."""
    text: str
    """Its caption."""


class _MetadataRow(BaseModel):
    """What is read of a metadata row; further columns are left alone."""

    file_name: str = Field(min_length=1, max_length=255, pattern=r"^[^\x00]+$")
    text: str


def read_captions(folder: Path) -> list[CaptionedFile]:
    """All images with captions of a folder, in the order of its metadata or of their paths; at least one.

    Args:
        folder: Holds `metadata.jsonl`, `metadata.csv` or texts beside the images, itself or in `train/`.
    """
    candidates = (root / name for root in (folder, folder / "train") for name in _METADATA_NAMES)
    metadata = next((path for path in candidates if path.is_file()), None)
    files = _files_with_text_beside(folder) if metadata is None else _files_of_metadata(metadata)
    if not files:
        raise UsageError(
            f"{folder} has no images with captions",
            allowed="metadata.jsonl or metadata.csv with file_name and text, or cat.txt beside cat.jpg",
            fix=f"add captions to images of type {', '.join(IMAGE_SUFFIXES)}",
        )
    return files


def _files_of_metadata(metadata: Path) -> list[CaptionedFile]:
    files = []
    for row_number, row in _rows(metadata):
        where = f"{metadata.name} row {row_number}"
        path = metadata.parent / row.file_name
        _refuse_outside(path, metadata.parent, where)
        if not path.is_file():
            raise UsageError(
                f"{where}: there is no image {row.file_name!r}",
                allowed=f"paths relative to {metadata.parent}",
                fix="add the image or remove the row",
            )
        files.append(CaptionedFile(path=path, text=row.text.strip()))
    return files


def _rows(metadata: Path) -> Iterator[tuple[int, _MetadataRow]]:
    """The rows with the line numbers an editor shows."""
    text = _read_text(metadata)
    if metadata.suffix == ".csv":
        reader = csv.DictReader(io.StringIO(text, newline=""), restkey="further columns")
        for fields in _csv_rows(reader, metadata):
            yield reader.line_num, _parse_row(fields, f"{metadata.name} row {reader.line_num}")
    else:
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield number, _parse_row(line, f"{metadata.name} row {number}")


def _csv_rows(reader: "csv.DictReader[str]", metadata: Path) -> Iterator[dict[str, str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise UsageError(
            f"{metadata.name} row {reader.line_num}: {error}", allowed="CSV with file_name and text"
        ) from None


def _parse_row(row: str | dict[str, str], where: str) -> _MetadataRow:
    try:
        return _MetadataRow.model_validate_json(row) if isinstance(row, str) else _MetadataRow.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        column = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"{where}: {column} {first['msg']}",
            allowed='file_name and text, such as {"file_name": "cat.jpg", "text": "a black cat"}',
            fix="correct that row",
        ) from None


def _files_with_text_beside(folder: Path) -> list[CaptionedFile]:
    files = []
    for path in sorted(folder.rglob("*")):
        caption = path.with_suffix(".txt")
        if path.suffix.lower() in IMAGE_SUFFIXES and caption.is_file():
            for file in (path, caption):
                _refuse_outside(file, folder, file.name)
            files.append(CaptionedFile(path=path, text=" ".join(_read_text(caption).split())))
    return files


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: {error.reason} at byte {error.start}", fix="save it as UTF-8") from None


def _refuse_outside(path: Path, folder: Path, where: str) -> None:
    """Stops at a path that leads out of the folder, by `..`, by an absolute path or through a link."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            f"{where}: {str(path)!r} lies outside of {folder}",
            allowed="images inside the folder",
            fix="copy the file into the folder",
        )
