import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from profilers.device import Device
from profilers.exchange_files import write_export
from profilers.measuring import measure_space
from profilers.storage import open_engine
from profilers.subject import Subject
from profilers.table import TableOptions, table
from search_space.command_line import parse_options
from search_space.errors import StorageError, UsageError
from search_space.space import reachable_specs
from search_space.spaces import search_space
from search_space.specs import DownsampleSpec, spec_key
from tests.profilers.exports import small_export

TINY = search_space("tiny")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    """Runs the command in this process; returns what it wrote to stdout and to stderr."""

    def run_command(*arguments: str, path: Path) -> tuple[str, str]:
        given = [*arguments, "--storage", f"sqlite:///{path}"]
        table(parse_options(TableOptions, given, prog="profilers.table"))
        captured = capsys.readouterr()
        return captured.out, captured.err

    return run_command


@pytest.fixture(scope="module")
def measured_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("measured") / "table.db"
    engine = open_engine(f"sqlite:///{path}")
    measure_space(TINY, "exact", engine)
    engine.dispose()
    return path


def test_help_needs_neither_torch_nor_pyarrow_nor_sqlalchemy() -> None:
    code = "import sys, profilers.table; sys.exit(str({'torch', 'pyarrow', 'sqlalchemy', 'numpy'} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.stderr.strip() == "set()"


def test_a_measured_space_is_covered_shared_and_plain(
    measured_path: Path, tmp_path: Path, run: Callable[..., tuple[str, str]]
) -> None:
    stdout, stderr = run("coverage", "--json", path=measured_path)
    (coverage,) = json.loads(stdout)
    num_specs = len(reachable_specs(TINY))
    assert (coverage["num_specs"], coverage["counts"]["present"]) == (num_specs, num_specs)
    assert "transformer" in stderr

    stdout, stderr = run("anomalies", "--device", "exact", "--json", path=measured_path)
    assert json.loads(stdout)[0]["anomalies"] == []
    assert stderr.strip().endswith("nothing strange")

    shared, colleague_path = str(tmp_path / "shared.parquet"), tmp_path / "colleague.db"
    stdout, _ = run("export", "--device", "exact", "-o", shared, "--json", path=measured_path)
    assert json.loads(stdout)["num_rows"] == num_specs
    stdout, _ = run("import", shared, "--json", path=colleague_path)
    (imported,) = json.loads(stdout)
    assert (imported["num_added"], imported["num_replaced"]) == (num_specs, 0)
    assert json.loads(run("coverage", "--json", path=colleague_path)[0]) == [coverage]


def test_anomalies_are_shown_with_their_rows(
    measured_path: Path, tmp_path: Path, run: Callable[..., tuple[str, str]]
) -> None:
    path = tmp_path / "table.db"
    shutil.copy(measured_path, path)
    planted = next(spec for spec in reachable_specs(TINY) if isinstance(spec, DownsampleSpec) and spec.channels == 96)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE latency_rows SET median_ms = median_ms / 2, low_ms = low_ms / 2, high_ms = high_ms / 2"
            " WHERE subject_id = ?",
            [Subject.of_block(planted).subject_id],
        )
    stdout, stderr = run("anomalies", "--device", "exact", "--json", path=path)
    (document,) = json.loads(stdout)
    (falling,) = [anomaly for anomaly in document["anomalies"] if anomaly["kind"] == "falling"]
    assert [row["spec"] for row in falling["rows"]][1] == spec_key(planted)
    assert "channels 64 -> 96" in stderr
    assert "the same, but channels=96" in stderr
    assert "estimate ms" in stderr


def test_what_cannot_be_done_is_said_in_three_lines(
    tmp_path: Path, device: Device, run: Callable[..., tuple[str, str]]
) -> None:
    path = tmp_path / "table.db"
    write_export(small_export(device, medians_ms=(1.0,)), tmp_path / "first.csv")
    write_export(small_export(device, medians_ms=(2.0,)), tmp_path / "second.csv")
    run("import", str(tmp_path / "first.csv"), path=path)
    for arguments, words in (
        (("import", str(tmp_path / "second.csv")), "--replace drops those that are here"),
        (("import", str(tmp_path / "absent.csv")), "there is no file"),
        (("export", "--device", "tset", "-o", str(tmp_path / "out.csv")), "holds nothing of the device 'tset'"),
        (("coverage", "--device", "tset"), "unknown device 'tset'"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            run(*arguments, path=path)
        assert len(str(caught.value).splitlines()) <= 3
    _, stderr = run("import", str(tmp_path / "second.csv"), "--replace", path=path)
    assert "0 rows added, 0 known, 1 replaced" in stderr
    with pytest.raises(StorageError, match="there is no database"):
        run("coverage", path=tmp_path / "absent.db")
    assert not (tmp_path / "out.csv").exists()
