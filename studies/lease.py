"""One run at a time works on a study: a lock that dies with its process.

Without it a second run would take the first one's trials for lost. A lock of the operating system or of the database
server needs no heartbeat and no time-out: it is free the moment its owner is dead.
"""

import contextlib
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy
from sqlalchemy import Engine

from search_space.errors import UsageError


@contextlib.contextmanager
def study_lease(engine: Engine, study_name: str) -> Iterator[None]:
    """Holds the study for the length of a `with` block.

    Raises:
        UsageError: Another run holds it.
    """
    match engine.dialect.name:
        case "postgresql":
            lock = _hold_on_server(engine, study_name)
        case _:
            lock = _hold_file(Path(f"{engine.url.database}.{study_name}.lock"), study_name)
    with lock:
        yield


@contextlib.contextmanager
def _hold_on_server(engine: Engine, study_name: str) -> Iterator[None]:
    number = zlib.crc32(f"snapnas study {study_name}".encode())
    with engine.connect() as connection:
        if not connection.scalar(sqlalchemy.text("SELECT pg_try_advisory_lock(:n)"), {"n": number}):
            raise _held(study_name)
        connection.commit()  # the lock is the session's, and an open transaction would hold back the server
        try:
            yield
        finally:
            connection.execute(sqlalchemy.text("SELECT pg_advisory_unlock(:n)"), {"n": number})
            connection.commit()


@contextlib.contextmanager
def _hold_file(path: Path, study_name: str) -> Iterator[None]:
    # An exclusive transaction on an empty SQLite file is a lock between processes on every system.
    lock = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            raise _held(study_name) from error
        yield
    finally:
        lock.close()


def _held(study_name: str) -> UsageError:
    return UsageError(
        f"another run works on study {study_name!r} right now",
        allowed="one run at a time; it may use several --workers",
        fix="wait for it, or give another --study NAME",
    )
