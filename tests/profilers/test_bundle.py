"""The command: writes nothing where it cannot, and says in three lines why."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "profilers.bundle", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_bundle_is_written_twice_and_converted_once(tmp_path: Path) -> None:
    arguments = ["--blocks", "1", "--out", str(tmp_path / "bundle"), "--json"]
    first, second = _run(*arguments, "--processes", "2"), _run(*arguments)
    assert first.returncode == second.returncode == 0, first.stderr
    assert json.loads(first.stdout)["num_converted_now"] == 2  # the block and the sentinel
    assert json.loads(second.stdout)["num_converted_now"] == 0
    assert "run_bundle.py" in second.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--device", "host-torch"], "core-ml"),
        (["--device", "core-ml:units=ane"], "cpu_and_ne"),
        (["--device", "core-ml:target=iphone"], "--connected iphone"),
        (["--blocks", "-1"], "from 0"),
        (["--blocks", "0"], "something in it"),
        (["--import", "nowhere.json"], "nowhere.json"),
    ],
)
def test_a_wrong_argument_is_a_short_message(tmp_path: Path, arguments: list[str], named: str) -> None:
    failed = _run("--out", str(tmp_path / "bundle"), *arguments)
    assert failed.returncode == 2
    assert failed.stderr.count("\n") <= 3
    assert named in failed.stderr
    assert not (tmp_path / "bundle").exists()
