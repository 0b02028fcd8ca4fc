"""Progress in a pipe, where lines must be few and whole, and on a real pseudo-terminal."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from search_space.progress import _PlainBar

ROOT = Path(__file__).parents[2]

TWO_BARS = """
import sys
from search_space.progress import progress

with progress("searching", total=2, unit="trial") as outer:
    for trial in range(2):
        with progress(f"training [trial {trial}]", total=3) as inner:
            inner.advance(3, note="loss 0.5")
        outer.advance()
    print("to stdout")
with progress("counting") as bar:
    bar.advance(5)
"""


def _on_a_terminal(**variables: str) -> str:
    """What the script writes to stderr when stderr is a terminal."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "TERM": "xterm-256color", **variables}
    process = subprocess.Popen(
        [sys.executable, "-c", TWO_BARS], stdout=subprocess.PIPE, stderr=follower, env=environment
    )
    os.close(follower)
    written = b""
    while True:
        try:
            chunk = os.read(leader, 4096)
        except OSError:  # Linux's way to say that nobody holds the other end any more
            break
        written += chunk
    os.close(leader)
    stdout, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert stdout == b"to stdout\n"
    return written.decode()


def test_a_pipe_gets_whole_lines_at_start_and_end() -> None:
    completed = subprocess.run(
        [sys.executable, "-c", TWO_BARS],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    lines = completed.stderr.splitlines()
    assert lines[0] == "searching:   0 % (0/2 trial), started"
    assert lines[2] == "training [trial 0]: 100 % (3/3 step), done in 0:00, loss 0.5"
    assert lines[-1] == "counting: 5 step, done in 0:00"
    assert "\x1b" not in completed.stderr
    assert completed.stdout == "to stdout\n"


def test_a_terminal_gets_nested_bars_and_only_the_outer_one_stays() -> None:
    last_screen = _on_a_terminal().rsplit("searching", maxsplit=1)[1]
    assert "2/2 trial" in last_screen
    assert "5 step" in last_screen
    assert "training [trial 1]" not in last_screen


def test_no_color_keeps_the_bar_and_drops_the_colours() -> None:
    written = _on_a_terminal(NO_COLOR="1")
    assert "2/2 trial" in written
    assert "\x1b[3" not in written


def test_a_dumb_terminal_gets_plain_lines() -> None:
    written = _on_a_terminal(TERM="dumb")
    assert "searching: 100 % (2/2 trial), done in 0:00" in written
    assert "\x1b" not in written


def _bar_with_clock(completed: int = 0) -> tuple[_PlainBar, list[float]]:
    time_s = [0.0]
    bar = _PlainBar("training", total=100, unit="step", completed=completed, clock=lambda: time_s[0])
    return bar, time_s


def test_a_plain_bar_speaks_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    bar, time_s = _bar_with_clock()
    for second in range(1, 31):
        time_s[0] = second
        bar.advance(1, note=f"loss {second}")
    assert capsys.readouterr().err.splitlines() == [
        "training:   0 % (0/100 step), started",
        "training:  10 % (10/100 step), 1:30 left, loss 10",
        "training:  20 % (20/100 step), 1:20 left, loss 20",
        "training:  30 % (30/100 step), 1:10 left, loss 30",
    ]


def test_the_time_left_counts_only_what_this_run_did(capsys: pytest.CaptureFixture[str]) -> None:
    bar, time_s = _bar_with_clock(completed=80)
    time_s[0] = 10
    bar.advance(10)
    assert "90 % (90/100 step), 0:10 left" in capsys.readouterr().err


def test_a_bar_left_by_an_exception_says_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    bar, time_s = _bar_with_clock()
    time_s[0] = 3700
    bar.close(is_complete=False)
    assert "stopped after 1:01:40" in capsys.readouterr().err
