"""A real PostgreSQL server for tests, thrown away afterwards; where none is installed, what asks for it is skipped.

Use it from a `conftest.py`: `from tests.postgresql import postgresql_server, postgresql_url`.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy

_DEBIAN_FOLDER = Path("/usr/lib/postgresql")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of a fresh server's first database."""
    programs = _programs_folder()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="snapnas-postgresql-"))
    if os.geteuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
    data, port = folder / "data", _free_port()
    _run([programs / "initdb", "--pgdata", data, "--username", "snapnas", "--auth", "trust", "--no-sync"])
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    _run([programs / "pg_ctl", "--pgdata", data, "--options", options, "--log", folder / "log", "--wait", "start"])
    try:
        yield f"postgresql://snapnas:a-secret@127.0.0.1:{port}/postgres"
    finally:
        _run([programs / "pg_ctl", "--pgdata", data, "--mode", "immediate", "--wait", "stop"])
        shutil.rmtree(folder)


@pytest.fixture
def postgresql_url(postgresql_server: str) -> str:
    """URL of an empty database of its own."""
    name = f"test_{uuid.uuid4().hex}"
    engine = sqlalchemy.create_engine(
        sqlalchemy.make_url(postgresql_server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return postgresql_server.removesuffix("postgres") + name


def _programs_folder() -> Path | None:
    """Where initdb and pg_ctl are: Debian keeps them out of the PATH, one folder per version."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    return next((path.parent for path in sorted(_DEBIAN_FOLDER.glob("*/bin/initdb"), reverse=True)), None)


def _run(command: Sequence[str | Path]) -> None:
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    # Its own output would keep the server's log open in our pipe.
    subprocess.run([*prefix, *map(str, command)], check=True, cwd="/", stdout=subprocess.DEVNULL)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
