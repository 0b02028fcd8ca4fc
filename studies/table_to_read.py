"""The latency table of a workspace, for looking only: no file and no table is made, or left behind."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy
from sqlalchemy import Engine

from profilers.latency_table import LatencyTable
from profilers.storage import copy_sqlite_file, normalised_url, open_engine
from profilers.tables import SchemaVersion


@contextlib.contextmanager
def table_to_read(storage_url: str) -> Iterator[LatencyTable | None]:
    """The latency table, or None where there is none yet."""
    with contextlib.ExitStack() as stack:
        engine = _engine_to_read(storage_url, stack)
        yield None if engine is None else _table_of(engine)


def _engine_to_read(storage_url: str, stack: contextlib.ExitStack) -> Engine | None:
    url = normalised_url(storage_url)
    if url.get_backend_name() != "sqlite":
        engine = open_engine(storage_url, read_only=True)
        stack.callback(engine.dispose)
        return engine
    path = Path(url.database or "")
    if not path.is_file():
        return None
    # A copy: even a reader of SQLite's write-ahead log leaves files beside the database.
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="snapnas-reading-"))
    copy = Path(folder) / "copy.db"
    copy_sqlite_file(url, copy)
    engine = open_engine(f"sqlite:///{copy}")
    stack.callback(engine.dispose)
    return engine


def _table_of(engine: Engine) -> LatencyTable | None:
    has_table = sqlalchemy.inspect(engine).has_table(SchemaVersion.__tablename__)
    return LatencyTable(engine) if has_table else None
