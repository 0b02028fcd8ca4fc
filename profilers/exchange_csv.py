"""A latency table's lines as CSV: the columns, and cells that come back bit for bit.

A number is written with as many digits as it needs, a cell without a value is empty, and a text that is empty itself,
or that a spreadsheet would take for a formula, starts with an apostrophe, which reading takes away again. Reading
accepts only what writing would have written. Light to import: a process that only unpacks a file needs no more.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from search_space.errors import UsageError

EXCHANGE_VERSION = 3
FIX = "python -m profilers.table export writes such a file"

Cell = str | int | float | bool | None

COLUMNS: dict[str, type] = {
    "schema_version": int,
    "record": str,
    "device_id": str,
    "document": str,
    "sentinel_ms": float,
    "campaign": int,
    "protocol": str,
    "environment_before": str,
    "environment_after": str,
    "subject_id": str,
    "kind": str,
    "text": str,
    "status": str,
    "reason": str,
    "load_report": str,
    "finished_at": str,
    "raw_ms": float,
    "num_runs": int,
    "drift": float,
    "round_index": int,
    "position": int,
    "taken_at": float,
    "is_flagged": bool,
    "elasticity": float,
    "common_slowness": float,
}
"""Every column of a file and what its cells hold; a line fills those of its kind."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


def csv_lines(lines: Iterable[Sequence[Cell]]) -> Iterator[bytes]:
    """The bytes of every line, the first of which holds the columns' names."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)  # quotes what holds a comma, a quotation mark or one of its line ends, \r\n
    for cells in lines:
        writer.writerow(map(_csv_cell, cells))
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()


def _csv_cell(value: Cell) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return f"'{value}" if not value or value.startswith(_FORMULA_STARTS) else value
        case _:
            return repr(value)


def cells_of_csv(content: bytes) -> Iterator[tuple[int, Mapping[str, Cell]]]:
    """Every line's number and the cells that it fills.

    Raises:
        UsageError: It is not CSV with exactly our columns in our version, or a cell is not what its column holds.
    """
    try:
        reader = csv.reader(io.StringIO(content.decode(), newline=""), strict=True)
        names = next(reader, [])
        for number, values in enumerate(reader, start=2):
            if number == 2 and names[:1] == ["schema_version"]:
                _require_version(values[0] if values else "")
            _require_columns(names)
            yield number, _filled_cells(values, number)
    except UnicodeDecodeError:
        raise UsageError("the file is not text in UTF-8", fix=FIX) from None
    except csv.Error as error:
        raise UsageError(f"the file is not CSV: {error}", fix=FIX) from None
    _require_columns(names)


def _require_version(text: str) -> None:
    if text != str(EXCHANGE_VERSION):
        given = text if re.fullmatch(r"[0-9]{1,9}", text, flags=re.ASCII) else "none that can be read"
        raise UsageError(
            f"the file's schema version is {given}",
            allowed=f"version {EXCHANGE_VERSION}",
            fix="export it again with this version of SnapNAS, or import it with the one that wrote it",
        )


def _require_columns(names: Sequence[str]) -> None:
    if list(names) != list(COLUMNS):
        raise UsageError("the file's columns are not those of a latency table", allowed=", ".join(COLUMNS), fix=FIX)


def _filled_cells(values: Sequence[str], number: int) -> dict[str, Cell]:
    if len(values) != len(COLUMNS):
        raise UsageError(f"line {number} has {len(values)} cells", allowed=f"{len(COLUMNS)} cells", fix=FIX)
    _require_version(values[0])
    named = zip(COLUMNS, values, strict=True)
    return {name: _value(name, text, number) for name, text in named if text and name != "schema_version"}


def _value(name: str, text: str, number: int) -> Cell:
    kind = COLUMNS[name]
    if kind is str and text.startswith("'"):
        return text[1:]
    if kind is str and not text.startswith(_FORMULA_STARTS):
        return text
    if kind is bool and text in ("true", "false"):
        return text == "true"
    if kind is int and re.fullmatch(r"[0-9]{1,18}", text, flags=re.ASCII):
        return int(text)
    if kind is float and re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,20})?(e[+-][0-9]{1,3})?", text, flags=re.ASCII):
        return float(text)
    words = {str: "a text that no spreadsheet runs", bool: "true or false", int: "a whole number", float: "a number"}
    raise UsageError(f"line {number}: the cell of {name} is not {words[kind]}", fix=FIX)
