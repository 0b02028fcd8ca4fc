"""A latency table's lines in a file: parquet, where numbers are numbers, or CSV, where everybody can look.

Both hold the same columns and give back exactly what went in; the name's ending decides between them.
"""

import dataclasses
import os
from pathlib import Path

from profilers.exchange_checks import MAX_LINES, checked_export
from profilers.exchange_csv import COLUMNS, EXCHANGE_VERSION, Cell, cells_of_csv, csv_lines
from profilers.exchange_parquet import MAX_CSV_BYTES, csv_of_parquet, parquet_content
from profilers.exchange_records import LatencyExport, Line
from search_space.errors import UsageError

MAX_FILE_BYTES = MAX_CSV_BYTES  # parquet, which is smaller, is read as CSV


def write_export(export: LatencyExport, path: Path) -> None:
    """Writes the file whole or not at all.

    Raises:
        UsageError: The name ends with neither `.parquet` nor `.csv`, the file would be larger than `read_export` reads,
            or it cannot be written.
    """
    is_parquet = _is_parquet(path)
    lines = [_cells(line) for line in export.lines]
    content = b"".join(csv_lines([list(COLUMNS), *([cells.get(name) for name in COLUMNS] for cells in lines)]))
    if len(lines) > MAX_LINES or len(content) > MAX_FILE_BYTES:
        raise UsageError(
            f"the export has {len(lines):,} lines, which are {len(content) / 2**20:.0f} MiB as CSV",
            allowed=f"{MAX_LINES:,} lines and {MAX_FILE_BYTES // 2**20} MiB, as much as an import reads",
            fix="--device and an id that profilers.table coverage prints export one version of the device",
        )
    if is_parquet:
        content = parquet_content(lines)
    partial = path.with_name(f"{path.name}.part")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", fix="give another -o") from error


def read_export(path: Path) -> LatencyExport:
    """Reads a file that nobody vouches for.

    Raises:
        UsageError: The file cannot be read, is too large, is of another version, or holds what no table could hold.
    """
    is_parquet = _is_parquet(path)
    content = _content(path)
    return checked_export(cells_of_csv(csv_of_parquet(content) if is_parquet else content))


def _cells(line: Line) -> dict[str, Cell]:
    return {"schema_version": EXCHANGE_VERSION, "record": line.record, **dataclasses.asdict(line)}


def _is_parquet(path: Path) -> bool:
    if path.suffix not in (".parquet", ".csv"):
        raise UsageError(f"the file {path} has no format", allowed="names that end with .parquet or .csv")
    return path.suffix == ".parquet"


def _content(path: Path) -> bytes:
    if not path.is_file():  # a pipe or a device could be read for ever
        raise UsageError(f"there is no file {path}", fix="check the path")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", fix="check the path") from None
    if len(content) > MAX_FILE_BYTES:
        raise UsageError(
            f"{path} is larger than {MAX_FILE_BYTES // 2**20} MiB", fix="export one version of the device, by its id"
        )
    return content
