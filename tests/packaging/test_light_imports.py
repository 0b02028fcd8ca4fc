"""What must open at once does: no torch or Ray behind a description, a `--help` or the dashboard."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

HEAVY = ("torch", "ray", "onnxruntime", "coremltools", "diffusers", "sklearn")

DESCRIBING = ("search_space.arch", "search_space.specs", "search_space.walk", "search_space.counts")
PACKAGES = ("search_space", "training", "deploy", "proxies", "profilers", "studies", "dashboard")

COMMANDS = (
    "search_space.describe",
    "profilers.measure",
    "profilers.bundle",
    "profilers.check",
    "profilers.estimate",
    "profilers.transfer",
    "studies.run",
    "studies.export",
    "studies.train",
    "studies.report",
    "dashboard",
)


REPORT_AT_EXIT = f"""
import atexit, sys

@atexit.register
def report():
    print(*sorted({set(HEAVY)} & sys.modules.keys()), file=sys.stderr)
"""


def _heavy_modules_after(code: str) -> list[str]:
    completed = subprocess.run(
        [sys.executable, "-c", REPORT_AT_EXIT + code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stderr.split()


@pytest.mark.parametrize("module", [*DESCRIBING, *PACKAGES])
def test_describing_files_and_packages_import_nothing_heavy(module: str) -> None:
    assert _heavy_modules_after(f"import {module}") == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_fast_and_imports_nothing_heavy(command: str) -> None:
    code = f"import runpy, sys; sys.argv = [{command!r}, '--help']; runpy.run_module({command!r}, run_name='__main__')"
    assert _heavy_modules_after(code) == []
    assert min(_help_cpu_s(command) for _ in range(3)) < 1


def _help_cpu_s(command: str) -> float:
    """Seconds of processor time, which other processes on the same cores do not lengthen as they do wall clock."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", command, "--help"], cwd=ROOT, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
