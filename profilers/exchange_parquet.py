"""A latency table's lines as parquet, where numbers are numbers; read in a process of its own.

pyarrow 26 was seen to end its process when it was asked for a damaged column's compression, and a parquet file of a few
kilobytes can unpack to many gigabytes. So a file that nobody vouches for is unpacked by another process, with
bounded time and output and, on Linux, bounded memory: `python -m profilers.exchange_parquet` reads parquet from stdin
and writes CSV to stdout, which is read like any other CSV of a stranger.
"""

import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from profilers.exchange_csv import COLUMNS, FIX, Cell, csv_lines
from search_space.errors import UsageError

MAX_CSV_BYTES = 256 * 2**20
MAX_MEMORY_BYTES = 2 * 2**30
MAX_UNPACKING_S = 600

_BATCH_LINES = 1024
_ROOT = Path(__file__).resolve().parent.parent


def parquet_content(lines: Iterable[Mapping[str, Cell]]) -> bytes:
    """The lines as the bytes of a parquet file; equal lines give equal bytes."""
    import pyarrow
    import pyarrow.parquet

    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    buffer = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(lines), schema=schema), buffer, compression="zstd")
    return bytes(buffer.getvalue())


def csv_of_parquet(content: bytes) -> bytes:
    """The CSV of a parquet file that nobody vouches for.

    Raises:
        UsageError: It is not parquet, or not small and simple enough to be a latency table.
    """
    command = [sys.executable, "-m", "profilers.exchange_parquet"]
    try:
        unpacked = subprocess.run(
            command, input=content, capture_output=True, check=False, cwd=_ROOT, timeout=MAX_UNPACKING_S
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"the parquet file could not be unpacked within {MAX_UNPACKING_S} s", fix=FIX) from None
    if unpacked.returncode == 0:
        return unpacked.stdout
    if unpacked.returncode == 2:
        raise UsageError(unpacked.stderr.decode(errors="replace"), fix=FIX)
    raise UsageError("the parquet file is damaged: reading it ended the process that read it", fix=FIX)


def _unpack() -> None:
    """The other process."""
    _bound_memory()
    import pyarrow

    try:
        num_bytes = 0
        for line in csv_lines(_lines(sys.stdin.buffer.read())):
            num_bytes += len(line)
            if num_bytes > MAX_CSV_BYTES:
                _refuse(f"the parquet file holds more than {MAX_CSV_BYTES // 2**20} MiB of text")
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    except MemoryError:  # pyarrow's own is one as well
        _refuse(f"the parquet file needs more than {MAX_MEMORY_BYTES // 2**30} GiB of memory")
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        message = (str(error).splitlines() or [""])[0]
        _refuse(f"the file is not parquet: {message[:200]}")


def _lines(content: bytes) -> Iterable[list[Cell]]:
    import pyarrow
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content))
    types = {pyarrow.string(), pyarrow.int64(), pyarrow.float64(), pyarrow.bool_()}
    for field in file.schema_arrow:
        if field.type not in types:
            _refuse(f"the column {field.name[:40]} holds {field.type}")
    yield file.schema_arrow.names
    for batch in file.iter_batches(batch_size=_BATCH_LINES):
        batch.validate(full=True)
        yield from map(list, zip(*(column.to_pylist() for column in batch.columns), strict=True))


def _bound_memory() -> None:
    if sys.platform == "linux":  # elsewhere the system does not keep this limit
        import resource

        _, hard_limit = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, hard_limit))


def _refuse(message: str) -> None:
    print("".join(letter if letter.isprintable() else "?" for letter in message), end="", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    _unpack()
