"""A look at a table that is in use."""

import shutil
from pathlib import Path

import pytest
import sqlalchemy

from profilers.backends.exact import ExactBackend
from profilers.latency_table import LatencyTable
from profilers.storage import open_engine
from studies.table_to_read import table_to_read


def test_a_table_in_use_is_read_as_it_is_at_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, copy_file = f"sqlite:///{tmp_path / 'table.db'}", shutil.copy
    engine = open_engine(url)
    LatencyTable(engine).add_device(ExactBackend().device)

    def copy_while_the_log_is_emptied(source: Path, target: Path) -> None:
        copy_file(source, target)
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("PRAGMA wal_checkpoint(TRUNCATE)"))

    monkeypatch.setattr("shutil.copy", copy_while_the_log_is_emptied)
    before = {path.name for path in tmp_path.iterdir()}
    with table_to_read(url) as table:
        assert table is not None
        assert table.devices() == (ExactBackend().device,)
    assert {path.name for path in tmp_path.iterdir()} == before
    engine.dispose()
    with table_to_read(url) as table:
        assert table is not None
        assert table.devices() == (ExactBackend().device,)
    assert {path.name for path in tmp_path.iterdir()} == {"table.db", "table.db.lock"}
