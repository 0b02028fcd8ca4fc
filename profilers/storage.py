"""The one database of a workspace: opened here by the profilers, the studies and the dashboard alike.

SQLite in a file by default, PostgreSQL by URL. Steady writing is safe on both; what breaks is the start: of eight
workers that open a fresh SQLite file together, three to seven crash while all of them create tables. So every schema is
created under `schema_lock`, by one process at a time.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import sqlalchemy
from sqlalchemy import Engine, MetaData, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.schema import CreateColumn

from profilers.defaults import DEFAULT_STORAGE
from search_space.errors import StorageError

BUSY_TIMEOUT_S = 60
_SCHEMA_LOCK_NUMBER = 0x534E4150  # "SNAP": the number of our advisory lock on a PostgreSQL server
_ALLOWED = "sqlite:///path/to/file.db or postgresql://user:password@host/database"


def open_engine(url: str = DEFAULT_STORAGE, *, read_only: bool = False) -> Engine:
    """Opens the database and proves that it answers.

    Args:
        url: `sqlite:///relative/path.db`, `sqlite:////absolute/path.db` or `postgresql://user:password@host/database`.
        read_only: Whether every write is refused by the database itself. A file is then not created.

    Raises:
        StorageError: The URL cannot be read, or nothing answers there.
    """
    parsed_url = normalised_url(url)
    match parsed_url.get_backend_name():
        case "sqlite":
            engine = _sqlite_engine(parsed_url, read_only=read_only)
        case "postgresql":
            engine = _postgresql_engine(parsed_url, read_only=read_only)
        case other:
            raise StorageError(f"storage of kind {other!r} was given", allowed=_ALLOWED)
    event.listen(engine, "handle_error", _raise_as_storage_error)
    try:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1"))
    except DatabaseError as error:
        raise _storage_error(engine.url, error) from error
    return engine


def normalised_url(url: str) -> URL:
    """Reads a database URL; `postgres://` and `postgresql://` mean PostgreSQL through psycopg 3."""
    try:
        parsed_url = make_url(url)
    except ArgumentError as error:
        raise StorageError("the storage URL cannot be read", allowed=_ALLOWED) from error
    if parsed_url.drivername in ("postgres", "postgresql"):
        return parsed_url.set(drivername="postgresql+psycopg")
    return parsed_url


def display_url(url: str | URL) -> str:
    """The URL with stars for its password and without its query, the only form that may be printed or stored."""
    parsed_url = normalised_url(url) if isinstance(url, str) else url
    return parsed_url.set(query={}).render_as_string(hide_password=True)  # a query may hold a password as well


def copy_sqlite_file(url: URL, copy: Path) -> None:
    """Copies a SQLite database that may be in use: one state of it, whatever others write meanwhile.

    Raises:
        StorageError: It cannot be read.
    """
    path = _sqlite_path(url)
    assert path is not None
    # Where no write-ahead log is nobody uses the database, and a reader that knows so does not make one.
    is_in_use = path.with_name(f"{path.name}-wal").exists()
    uri = f"file:{quote(str(path))}?mode=ro{'' if is_in_use else '&immutable=1'}"
    try:
        with (
            contextlib.closing(sqlite3.connect(uri, timeout=BUSY_TIMEOUT_S, uri=True)) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
    except sqlite3.Error as error:
        raise _storage_error(url, error) from error


@contextlib.contextmanager
def snapshot_session(engine: Engine) -> Iterator[Session]:
    """A session in one transaction that sees one state of the database, whatever others write meanwhile."""
    with Session(engine) as session, session.begin():
        if engine.dialect.name == "postgresql":
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        else:
            session.execute(sqlalchemy.text("BEGIN"))  # sqlite3 by itself begins only when something is written
        yield session


def create_tables(engine: Engine, metadata: MetaData) -> None:
    """Creates missing tables, and columns that tables of an earlier version lack, whose defaults are the server's.

    Safe when many processes do so at once.
    """
    with schema_lock(engine):
        metadata.create_all(engine)
        with engine.begin() as connection:
            for table in metadata.sorted_tables:
                known = {column["name"] for column in sqlalchemy.inspect(connection).get_columns(table.name)}
                for column in table.columns:
                    if column.name not in known:
                        definition = CreateColumn(column).compile(dialect=engine.dialect)
                        connection.execute(sqlalchemy.text(f"ALTER TABLE {table.name} ADD COLUMN {definition}"))


@contextlib.contextmanager
def schema_lock(engine: Engine) -> Iterator[None]:
    """Lets one process at a time change the schema. A process that dies frees the lock."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection, connection.begin():
            connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:n)"), {"n": _SCHEMA_LOCK_NUMBER})
            yield
        return
    path = _sqlite_path(engine.url)
    if path is None:
        yield
        return
    with _file_lock(path):
        yield


@contextlib.contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    # An exclusive transaction on an empty SQLite file is a lock between processes on every system, freed by death.
    lock = sqlite3.connect(f"{path}.lock", timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        lock.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        lock.close()


def _sqlite_path(url: URL) -> Path | None:
    """The database file, or None for a database in memory."""
    if url.database in (None, "", ":memory:"):
        return None
    database = str(url.database)
    return Path(unquote(database.removeprefix("file:")) if database.startswith("file:") else database)


def _sqlite_engine(url: URL, *, read_only: bool) -> Engine:
    path = _sqlite_path(url)
    if read_only:
        if path is None or not path.is_file():
            raise StorageError(f"there is no database at {display_url(url)}", fix="python -m studies.run makes one")
        url = url.set(database=f"file:{quote(str(path))}", query={"mode": "ro", "uri": "true"})
    elif path is not None:
        _prepare_sqlite_file(path, url)
    engine = sqlalchemy.create_engine(
        url, connect_args={"timeout": BUSY_TIMEOUT_S}, execution_options={"read_only": read_only}
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA synchronous=NORMAL")  # safe against a crash of the process in WAL mode

    return engine


def _prepare_sqlite_file(path: Path, url: URL) -> None:
    # Readers do not wait for a writer in WAL mode. It stays with the file, and only switching to it can collide.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _file_lock(path), contextlib.closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
    except (OSError, sqlite3.Error) as error:
        raise _storage_error(url, error) from error


def _postgresql_engine(url: URL, *, read_only: bool) -> Engine:
    options = {"options": "-c default_transaction_read_only=on"} if read_only else {}
    try:
        # pool_pre_ping: a connection that the server dropped during a long trial is replaced, not a crash.
        return sqlalchemy.create_engine(
            url,
            pool_pre_ping=True,
            connect_args={"connect_timeout": 10, **options},
            execution_options={"read_only": read_only},
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise StorageError("PostgreSQL needs psycopg", fix="pip install 'psycopg[binary]'") from error


def _raise_as_storage_error(context: sqlalchemy.engine.ExceptionContext) -> None:
    """Turns a lost connection, a locked file or a full disk into a message; a broken constraint stays what it is."""
    error = context.sqlalchemy_exception
    if isinstance(error, OperationalError) and context.engine is not None and not context.is_pre_ping:
        raise _storage_error(context.engine.url, error) from error


def _storage_error(url: URL, error: Exception) -> StorageError:
    cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    if isinstance(url.password, str) and url.password:
        cause = cause.replace(url.password, "***")
    return StorageError(
        f"the database {display_url(url)} does not work: {cause}",
        fix="see that the server runs or the file can be written, or give another --storage URL",
    )
