"""Exit codes, messages and output streams of a real command in a real process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from search_space.errors import UsageError

ROOT = Path(__file__).parents[2]

COMMAND = '''
import dataclasses, sys, time
from typing import Literal

import tyro

from search_space.command_line import print_json, run
from search_space.errors import NoFeasibleTrialError, SnapNASError, StorageError, UsageError

@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Does one of the things that can happen."""

    what: tyro.conf.Positional[str] = "nothing"
    """What is to happen."""
    num_trials: int | None = None
    """How many trials."""
    until: Literal["search", "export"] = "export"
    """Where to stop."""
    quiet: bool = False
    """Say less."""

    def __post_init__(self):
        if self.num_trials == 0:
            raise UsageError("--num-trials 0", allowed="1 or more", fix="leave it out")

def wait():
    print("waiting", flush=True)
    time.sleep(60)

class Garbage:
    def __del__(self):
        wait()  # Python drops what is raised here

def command(options):
    match options.what:
        case "options": print_json(dataclasses.asdict(options))
        case "not_a_number": print_json({"value": float("nan")})
        case "snapnas_error": raise SnapNASError("a", allowed="b", fix="c")
        case "usage_error": raise UsageError("a", allowed="b", fix="c")
        case "no_feasible": raise NoFeasibleTrialError("a", allowed="b", fix="c")
        case "storage_error": raise StorageError("a", allowed="b", fix="c")
        case "bug": raise ZeroDivisionError("a bug\\nwith a long story")
        case "many_lines":
            for number in range(100_000): print(number)
        case "wait" | "wait_twice" | "wait_in_callback":
            try:
                if options.what == "wait_in_callback":
                    Garbage()
                wait()
            finally:
                print("cleaned up", flush=True)
                if options.what == "wait_twice":
                    time.sleep(60)

run(command, Options, prog="studies.example")
'''


@pytest.fixture
def program(tmp_path: Path) -> list[str]:
    path = tmp_path / "example.py"
    path.write_text(COMMAND)
    return [sys.executable, str(path)]


def _environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "COLUMNS": "60"}


def _run(program: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    tmp_path = Path(program[1]).parent
    return subprocess.run(
        [*program, *arguments], capture_output=True, text=True, env=_environment(tmp_path), check=False
    )


@pytest.mark.parametrize(
    ("what", "exit_code"),
    [("nothing", 0), ("snapnas_error", 1), ("usage_error", 2), ("no_feasible", 3), ("storage_error", 4)],
)
def test_every_family_of_errors_has_its_exit_code_and_three_lines(
    program: list[str], what: str, exit_code: int
) -> None:
    completed = _run(program, what)
    assert completed.returncode == exit_code
    assert completed.stderr.splitlines() == ([] if exit_code == 0 else ["a", "allowed: b", "fix: c"])


def test_a_message_that_quotes_a_stranger_commands_no_terminal() -> None:
    error = UsageError("the key \x1b[31m\x00red", allowed="one\u202eword", fix="größer als 1 °C")
    assert str(error).splitlines() == ["the key ?[31m?red", "allowed: one?word", "fix: größer als 1 °C"]


def test_a_bug_ends_with_its_type_and_a_file_that_holds_the_traceback(program: list[str]) -> None:
    completed = _run(program, "bug")
    first, second, third = completed.stderr.splitlines()
    assert completed.returncode == 1
    assert first == "ZeroDivisionError: a bug"
    assert "in command" in Path(second.removeprefix("traceback: ")).read_text()
    assert "--debug" in third


def test_debug_shows_the_traceback(program: list[str]) -> None:
    assert "Traceback" in _run(program, "bug", "--debug").stderr


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--num-trails", "3"], "did you mean: --num-trials"),
        (["--num-trails=3"], "did you mean: --num-trials"),
        (["--quite"], "did you mean: --quiet"),
        (["--num-trials", "many"], "'many'"),
        (["--num-trials"], "--num-trials"),
        (["--until", "lunch"], "'search', 'export'"),
        (["nothing", "too_much"], "too_much"),
        (["--num-trials", "0"], "allowed: 1 or more"),
    ],
)
def test_a_wrong_argument_exits_with_2_and_says_what_is_wrong(
    program: list[str], arguments: list[str], hint: str
) -> None:
    completed = _run(program, *arguments)
    assert completed.returncode == 2
    assert completed.stdout == ""
    assert hint in completed.stderr
    assert len(completed.stderr.splitlines()) <= 3


def test_options_arrive_and_stdout_is_one_line_of_json(program: list[str]) -> None:
    completed = _run(program, "options", "--num-trials", "3", "--quiet")
    assert json.loads(completed.stdout) == {"what": "options", "num_trials": 3, "until": "export", "quiet": True}
    assert completed.stdout.count("\n") == 1
    assert completed.stderr == ""


def test_json_with_nan_is_refused(program: list[str]) -> None:
    completed = _run(program, "not_a_number")
    assert completed.returncode == 1
    assert completed.stdout == ""


def test_help_has_each_field_once_and_no_negated_flags(program: list[str]) -> None:
    completed = _run(program, "--help")
    assert completed.returncode == 0
    for text in ("How many trials.", "--num-trials INT", "What is to happen.", "--quiet", "--version", "--debug"):
        assert completed.stdout.count(text) == 1
    assert "--no-" not in completed.stdout


def test_version_names_the_libraries_without_importing_them(program: list[str]) -> None:
    started_s = time.monotonic()
    completed = _run(program, "--version")
    assert time.monotonic() - started_s < 3  # importing torch and ray alone takes longer
    assert completed.returncode == 0
    assert completed.stdout.startswith("snapnas ")
    assert "torch 2." in completed.stdout


@contextmanager
def _started(program: list[str], what: str) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """The running process and its stdout, after the first line was read from it."""
    process = subprocess.Popen(
        [*program, what],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(Path(program[1]).parent),
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process, process.stdout
        finally:
            process.kill()


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("what", ["wait", "wait_in_callback"])
def test_a_signal_runs_finally_blocks_and_says_how_to_resume(
    program: list[str], what: str, number: signal.Signals, exit_code: int
) -> None:
    with _started(program, what) as (process, _):
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == exit_code
    assert stdout.splitlines()[-1] == "cleaned up"
    assert "to resume, type the same command again" in stderr
    assert len(stderr.splitlines()) == 1


def test_the_second_ctrl_c_ends_the_process_at_once(program: list[str]) -> None:
    with _started(program, "wait_twice") as (process, stdout):
        process.send_signal(signal.SIGINT)
        assert stdout.readline() == "cleaned up\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130


def test_a_reader_that_leaves_early_causes_no_traceback(program: list[str]) -> None:
    with _started(program, "many_lines") as (process, stdout):
        stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(timeout=20) == 1
