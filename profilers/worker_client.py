"""The parent's end of the measuring process: requests with a time limit, and failures told apart.

A subject that the runtime refuses is a `SubjectError`: the worker lives on. A worker that died or had to be killed
because it hung is a `WorkerDiedError`: everything it had loaded is gone.
"""

import contextlib
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self

from profilers.subject import Subject
from search_space.errors import SnapNASError

_ROOT = Path(__file__).resolve().parent.parent


class SubjectError(SnapNASError):
    """The device cannot run this subject."""


class WorkerDiedError(SnapNASError):
    """The measuring process died, or hung and was ended."""


class Worker:
    """One running measuring process. Use in a `with` block."""

    def __init__(self, device_name: str, *, time_limit_s: float) -> None:
        self._time_limit_s = time_limit_s
        self._process = subprocess.Popen(
            [sys.executable, "-m", "profilers.worker", device_name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.kill()

    @property
    def process_id(self) -> int:
        return self._process.pid

    def load(self, subject: Subject, *, slot: int, path: Path) -> int:
        """Loads and warms up one subject; returns how many runs a sample needs."""
        document = {"kind": subject.kind, "text": subject.text}
        return int(self._ask({"load": document, "slot": slot, "path": str(path)})["num_runs"])

    def sample(self, slot: int, *, num_runs: int) -> tuple[float, float]:
        """Takes one sample; returns its milliseconds and when it was taken."""
        answer = self._ask({"sample": slot, "num_runs": num_runs})
        return answer["raw_ms"], answer["taken_at"]

    def drop(self, slot: int) -> None:
        """Frees one subject's memory."""
        self._ask({"drop": slot})

    def kill(self) -> None:
        """Ends the process; it may be dead already."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # a request may still be in its buffer
                    pipe.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        has_hung = threading.Event()
        watchdog = threading.Timer(self._time_limit_s, self._kill_hung, args=[has_hung])
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
            raise WorkerDiedError(self._cause_of_death(has_hung.is_set()))
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SubjectError(answer["error"])
        return answer

    def _kill_hung(self, has_hung: threading.Event) -> None:
        has_hung.set()
        self._process.kill()

    def _cause_of_death(self, has_hung: bool) -> str:
        exit_code = self._process.wait()
        if has_hung:
            return f"the measuring process did not answer within {self._time_limit_s:g} s"
        if exit_code == -signal.SIGKILL:
            return "the measuring process was killed (SIGKILL), perhaps for lack of memory"
        return f"the measuring process died with exit code {exit_code}"
