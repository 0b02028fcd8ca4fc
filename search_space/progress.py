"""How far a long step is: a bar with the time left on a terminal, plain lines in a pipe, always on stderr.

    with progress("training the teacher", total=600, unit="step") as bar:
        for step in range(600):
            ...
            bar.advance(1, note=f"loss {loss:.3f}")

On a terminal all open bars share one display, so a bar may be opened inside another; an inner bar disappears when it
ends. Elsewhere (a pipe, a log file, TERM=dumb) a line is printed at the start, about every ten seconds, and at the end.
"""

import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # rich is imported by the first bar on a terminal, to keep `--help` fast
    from rich.progress import Progress, ProgressColumn, TaskID

PLAIN_INTERVAL_S = 10.0
REFRESHES_PER_S = 4.0  # few, because the refreshing thread shares the cores with what is being measured


class AbstractBar(ABC):
    """The progress of one step of known or unknown length."""

    @abstractmethod
    def advance(self, num_units: int = 1, *, note: str = "") -> None:
        """Says that units were done.

        Args:
            num_units: How many, since the last call.
            note: A short remark such as the loss, shown until the next one; empty keeps the last one.
        """

    @abstractmethod
    def close(self, *, is_complete: bool) -> None:
        """Ends the bar: after the last unit, or early because of an exception."""


@contextmanager
def progress(
    description: str, *, total: int | None = None, unit: str = "step", completed: int = 0
) -> Iterator[AbstractBar]:
    """Opens a progress bar for the length of a `with` block.

    Args:
        description: What is being done, without the numbers.
        total: The number of units, or None when nobody knows.
        unit: The name of one unit, in the singular.
        completed: The units that an earlier, resumed run has done already; they do not count for the time left.
    """
    kind = _TerminalBar if _is_terminal() else _PlainBar
    bar = kind(description, total=total, unit=unit, completed=completed)
    is_complete = False
    try:
        yield bar
        is_complete = True
    finally:
        bar.close(is_complete=is_complete)


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def _clock_text(duration_s: float) -> str:
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class _PlainBar(AbstractBar):
    """Whole lines, for a pipe, a log file or a terminal that cannot move its cursor."""

    def __init__(
        self,
        description: str,
        *,
        total: int | None,
        unit: str,
        completed: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._description = description
        self._total = total
        self._unit = unit
        self._resumed = self._completed = completed
        self._note = ""
        self._clock = clock
        self._start_s = self._last_line_s = clock()
        self._print("started")

    def advance(self, num_units: int = 1, *, note: str = "") -> None:
        self._completed += num_units
        self._note = note or self._note
        if self._clock() - self._last_line_s >= PLAIN_INTERVAL_S:
            self._print(self._time_left())

    def close(self, *, is_complete: bool) -> None:
        elapsed = _clock_text(self._clock() - self._start_s)
        self._print(f"done in {elapsed}" if is_complete else f"stopped after {elapsed}")

    def _time_left(self) -> str:
        done_now = self._completed - self._resumed
        elapsed_s = self._clock() - self._start_s
        if self._total is None or done_now == 0:
            return f"{_clock_text(elapsed_s)} so far"
        return f"{_clock_text(elapsed_s / done_now * max(self._total - self._completed, 0))} left"

    def _amount(self) -> str:
        if self._total is None:
            return f"{self._completed} {self._unit}"
        percent = 100 * self._completed / self._total if self._total else 100
        return f"{percent:3.0f} % ({self._completed}/{self._total} {self._unit})"

    def _print(self, state: str) -> None:
        parts = [self._amount(), state, self._note]
        print(f"{self._description}: {', '.join(part for part in parts if part)}", file=sys.stderr, flush=True)
        self._last_line_s = self._clock()


class _TerminalDisplay:
    """The one live area at the bottom of the terminal, there while at least one bar is open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_open = 0
        self._progress: Progress | None = None

    def open(self) -> "Progress":
        """Shows the display, unless another bar has done so already."""
        with self._lock:
            if self._progress is None:
                self._progress = _new_rich_progress()
                self._progress.start()
            self._num_open += 1
            return self._progress

    def close(self, rich_progress: "Progress", task: "TaskID") -> None:
        """Takes one bar out of the display; the last one stays on the terminal when the display ends."""
        with self._lock:
            self._num_open -= 1
            if self._num_open == 0:
                rich_progress.stop()
                self._progress = None
            else:
                rich_progress.remove_task(task)


_display = _TerminalDisplay()


def _new_rich_progress() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns: tuple[ProgressColumn, ...] = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:.0f}{task.fields[of_total]} {task.fields[unit]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    # stdout stays untouched: it belongs to the program that reads our JSON.
    return Progress(*columns, console=Console(stderr=True), refresh_per_second=REFRESHES_PER_S, redirect_stdout=False)


class _TerminalBar(AbstractBar):
    """One line of the terminal's display."""

    def __init__(self, description: str, *, total: int | None, unit: str, completed: int) -> None:
        self._rich_progress = _display.open()
        self._task = self._rich_progress.add_task(
            description,
            total=total,
            completed=completed,
            of_total="" if total is None else f"/{total}",
            unit=unit,
            note="",
        )

    def advance(self, num_units: int = 1, *, note: str = "") -> None:
        self._rich_progress.update(self._task, advance=num_units)
        if note:
            self._rich_progress.update(self._task, note=note)

    def close(self, *, is_complete: bool) -> None:
        self._rich_progress.stop_task(self._task)
        _display.close(self._rich_progress, self._task)
