"""The parent's end of the measuring process: requests with a time limit, and failures told apart.

A subject that the runtime refuses is a `SubjectError`: the worker lives on. A worker that died or had to be killed
because it hung is a `WorkerDiedError`: everything it had loaded is gone.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from profilers.load_report import LoadReport
from profilers.subject import Subject
from profilers.temporary_folder import FullDiskError, full_disk_named, new_folder
from search_space.errors import SnapNASError

_ROOT = Path(__file__).resolve().parent.parent
_NO_SLOT = -(2**63)


class SubjectError(SnapNASError):
    """The device cannot run this subject."""


class WorkerDiedError(SnapNASError):
    """The measuring process died, or hung and was ended."""


class Worker:
    """One running measuring process. Use in a `with` block."""

    def __init__(self, device_name: str, *, time_limit_s: float, loading_limit_s: float | None = None) -> None:
        """Starts it; `loading_limit_s` is for `load` alone, which may compile."""
        self._time_limit_s = time_limit_s
        self._loading_limit_s = loading_limit_s or time_limit_s
        # What a runtime leaves there, such as Core ML its compiled models, goes with the process.
        self._folder = new_folder("snapnas-worker-")
        self._slot_path = self._folder.path / "slot"
        try:
            self._forget_slot()
        except FullDiskError:
            self._folder.remove()
            raise
        self._process = subprocess.Popen(
            [sys.executable, "-m", "profilers.worker", device_name, str(self._slot_path), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            env={**os.environ, "TMPDIR": str(self._folder.path)},
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.kill()

    @property
    def process_id(self) -> int:
        return self._process.pid

    @property
    def slot_at_work(self) -> int | None:
        """The slot that `samples_in_turn` was at last, also after the process has died; None if it had not begun."""
        slot = int.from_bytes(self._slot_path.read_bytes(), "little", signed=True)
        return None if slot == _NO_SLOT else slot

    def prepare(self, subject: Subject, *, path: Path) -> None:
        """Lets the device's backend write what `load` opens. Not for a process that measures."""
        self._ask({"prepare": _document(subject), "path": str(path)})

    def load(self, subject: Subject, *, slot: int, path: Path) -> tuple[int, LoadReport]:
        """Loads and warms up one subject; returns how many runs a looped sample needs, and what loading said."""
        request = {"load": _document(subject), "slot": slot, "path": str(path)}
        answer = self._ask(request, time_limit_s=self._loading_limit_s)
        return int(answer.pop("num_runs")), LoadReport(**answer)

    def sample(self, slot: int) -> tuple[float, float]:
        """Takes one looped sample; returns its milliseconds and when it was taken."""
        answer = self._ask({"sample": slot})
        return answer["raw_ms"], answer["taken_at"]

    def samples_in_turn(self, slots: Sequence[int], *, num_passes: int, expected_s: float) -> tuple[list[float], float]:
        """Takes one sample of each slot, in turn; returns their milliseconds and when they were taken.

        A failure belongs to `slot_at_work`, and to no slot if that is None: the process died before it began.
        `expected_s` is how long it should take: the time limit comes on top.
        """
        self._forget_slot()
        request = {"in_turn": list(slots), "num_passes": num_passes}
        answer = self._ask(request, time_limit_s=self._time_limit_s + 10 * expected_s)
        return answer["raw_ms"], answer["taken_at"]

    def sustain(self, slot: int, *, num_runs: int, duration_s: float) -> list[float]:
        """Runs without a pause for so long; returns milliseconds of one run for every loop of `num_runs`."""
        request = {"sustain": slot, "num_runs": num_runs, "duration_s": duration_s}
        samples_ms: list[float] = self._ask(request, time_limit_s=self._time_limit_s + duration_s)["raw_ms"]
        return samples_ms

    def interrupt(self) -> None:
        """Ends the process while another thread waits for its answer, which is a `WorkerDiedError` then."""
        self._process.kill()

    def kill(self) -> None:
        """Ends the process; it may be dead already."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # a request may still be in its buffer
                    pipe.close()
        self._folder.remove()

    def _forget_slot(self) -> None:
        with full_disk_named():
            self._slot_path.touch()
            with self._slot_path.open("r+b") as slot_file:  # not emptied before: the process has mapped it
                slot_file.write(_NO_SLOT.to_bytes(8, "little", signed=True))

    def _ask(self, request: dict[str, Any], *, time_limit_s: float | None = None) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        time_limit_s = time_limit_s or self._time_limit_s
        has_hung = threading.Event()
        watchdog = threading.Timer(time_limit_s, self._kill_hung, args=[has_hung])
        watchdog.start()
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            watchdog.cancel()
        if not line:
            raise WorkerDiedError(self._cause_of_death(has_hung=has_hung.is_set(), time_limit_s=time_limit_s))
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SubjectError(answer["error"])
        return answer

    def _kill_hung(self, has_hung: threading.Event) -> None:
        has_hung.set()
        self._process.kill()

    def _cause_of_death(self, *, has_hung: bool, time_limit_s: float) -> str:
        exit_code = self._process.wait()
        if has_hung:
            return f"the measuring process did not answer within {time_limit_s:g} s"
        if exit_code == -signal.SIGKILL:
            return "the measuring process was killed (SIGKILL), perhaps for lack of memory"
        return f"the measuring process died with exit code {exit_code}"


def _document(subject: Subject) -> dict[str, str]:
    return {"kind": subject.kind, "text": subject.text}
