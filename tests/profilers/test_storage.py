import multiprocessing
import multiprocessing.synchronize
import sqlite3
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from profilers.collecting.jobs import JobStore
from profilers.defaults import DEFAULT_STORAGE
from profilers.latency_table import LatencyTable
from profilers.storage import display_url, normalised_url, open_engine
from profilers.tables import SCHEMA_VERSION
from search_space.errors import StorageError

NUM_PROCESSES = 8


def open_together(url: str, barrier: multiprocessing.synchronize.Barrier) -> None:
    barrier.wait()
    engine = open_engine(url)
    assert LatencyTable(engine).devices() == ()


def storm(url: str) -> list[int | None]:
    """Exit codes of many processes that open one fresh database at the same moment."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["profilers.latency_table"])  # imported once, not eight times
    barrier = context.Barrier(NUM_PROCESSES)
    processes = [context.Process(target=open_together, args=(url, barrier)) for _ in range(NUM_PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def test_eight_processes_open_a_fresh_sqlite_file_together(tmp_path: Path) -> None:
    assert storm(f"sqlite:///{tmp_path / 'new' / 'table.db'}") == [0] * NUM_PROCESSES


def test_eight_processes_open_a_fresh_postgresql_database_together(postgresql_url: str) -> None:
    assert storm(postgresql_url) == [0] * NUM_PROCESSES


def test_sqlite_is_opened_for_many_processes(sqlite_engine: Engine) -> None:
    with sqlite_engine.connect() as connection:
        pragmas = {
            name: connection.execute(sqlalchemy.text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "busy_timeout", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "busy_timeout": 60_000, "foreign_keys": 1}


def test_read_only_refuses_writes(engine: Engine) -> None:
    LatencyTable(engine)
    url = engine.url.render_as_string(hide_password=False)
    reader = open_engine(url, read_only=True)
    assert LatencyTable(reader).devices() == ()
    with pytest.raises((StorageError, sqlalchemy.exc.InternalError)), reader.begin() as connection:
        connection.execute(sqlalchemy.text("DELETE FROM latency_schema"))
    reader.dispose()


def test_read_only_does_not_create_a_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no database"):
        open_engine(f"sqlite:///{tmp_path / 'absent.db'}", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_read_only_opens_a_file_whose_name_means_something_in_a_uri(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/{quote('a#b?%41.db')}"
    LatencyTable(open_engine(url))
    reader = open_engine(url, read_only=True)
    assert LatencyTable(reader).devices() == ()
    assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} == {"a#b?%41"}
    reader.dispose()


def test_read_only_without_a_latency_table_says_how_to_get_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    open_engine(url).dispose()
    with pytest.raises(StorageError, match="profilers.measure"):
        LatencyTable(open_engine(url, read_only=True))


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_postgresql_urls_mean_psycopg(scheme: str) -> None:
    assert normalised_url(f"{scheme}://user:secret@host/db").drivername == "postgresql+psycopg"


@pytest.mark.parametrize("url", ["postgres://user:s3cret@host/db", "postgresql://user@host/db?password=s3cret"])
def test_display_never_shows_the_password(url: str) -> None:
    shown = display_url(url)
    assert "s3cret" not in shown
    assert "user" in shown


@pytest.mark.parametrize(
    "url",
    [
        "not a url",
        "mysql://user:s3cret@host/db",
        "postgresql://user:s3cret@127.0.0.1:1/db",
        "sqlite:////proc/nowhere/table.db",
    ],
)
def test_unreachable_storage_is_one_short_message_without_the_password(url: str) -> None:
    with pytest.raises(StorageError) as caught:
        open_engine(url)
    assert caught.value.exit_code == 4
    assert str(caught.value).count("\n") <= 2
    assert "s3cret" not in str(caught.value)


def test_a_file_that_is_no_database_is_a_storage_error(tmp_path: Path) -> None:
    path = tmp_path / "table.db"
    path.write_text("hello " * 100)
    with pytest.raises(StorageError, match="not a database"):
        open_engine(f"sqlite:///{path}")


def test_a_failure_while_writing_is_a_storage_error_and_a_broken_constraint_is_not(sqlite_engine: Engine) -> None:
    LatencyTable(sqlite_engine)
    with pytest.raises(StorageError), sqlite_engine.begin() as connection:
        connection.execute(sqlalchemy.text("INSERT INTO no_such_table VALUES (1)"))
    with pytest.raises(IntegrityError), sqlite_engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"INSERT INTO latency_schema VALUES ({SCHEMA_VERSION})"))


def test_default_storage_is_a_file_of_the_workspace() -> None:
    assert normalised_url(DEFAULT_STORAGE).database == "workspace/snapnas.db"


def test_a_table_of_another_schema_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.db"
    engine = open_engine(f"sqlite:///{path}")
    LatencyTable(engine)
    engine.dispose()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE latency_schema SET version = 99")
    connection.close()
    with pytest.raises(StorageError, match="schema version 99"):
        LatencyTable(open_engine(f"sqlite:///{path}"))


def test_a_table_of_an_earlier_version_gets_the_columns_that_came_later(engine: Engine) -> None:
    JobStore(engine).create(space="tiny", device_name="", max_blocks=None)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("ALTER TABLE collecting_jobs DROP COLUMN num_networks"))
    (job,) = JobStore(engine).jobs()
    assert (job.space, job.num_networks) == ("tiny", 0)
