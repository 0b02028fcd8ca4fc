"""The process that measures, and does nothing else: `python -m profilers.worker DEVICE SLOT_FILE PARENT`.

It reads one JSON request a line from stdin and answers each with one JSON line on stdout. It ends when stdin ends and,
so that one that exports for minutes or hangs does not outlive who asked, when PARENT, the number of the process that
started it, is its parent no more. What a runtime raises becomes an answer; what kills the process is seen by the
parent, which starts another and finds in SLOT_FILE at which subject it happened.

    {"load": {"kind": "block", "text": "..."}, "slot": 3, "path": "..."}   ->  {"num_runs": 12, "load_ms": 8.1, ...}
    {"sample": 3}                                                          ->  {"raw_ms": 0.0831, "taken_at": 1.7e9}
    {"in_turn": [3, 5, 4], "num_passes": 4}                    ->  {"raw_ms": [0.09, 0.2, 0.1], "taken_at": 1.7e9}
    {"sustain": 3, "num_runs": 12, "duration_s": 5}                        ->  {"raw_ms": [0.0831, 0.0829, ...]}

Some processes prepare instead, several at once and never one that measures, because preparing imports torch:

    {"prepare": {"kind": "block", "text": "..."}, "path": "..."}           ->  {}
"""

import dataclasses
import json
import mmap
import os
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

from profilers.backends.abstract import AbstractBackend, AbstractRunner
from profilers.backends.registry import open_backend
from profilers.bundling.run_bundle import Sampling, warm_up
from profilers.load_report import LoadReport
from profilers.subject import Subject
from profilers.timing import take_samples_in_turn_ms

SLOT_FORMAT = struct.Struct("<q")
"""How the slot at work stands in SLOT_FILE."""


_LOOK_INTERVAL_S = 1.0  # at the parent: microseconds of one run in many thousands


def main() -> None:
    threading.Thread(target=_end_with, args=[int(sys.argv[3])], daemon=True).start()
    backend = open_backend(sys.argv[1])
    with Path(sys.argv[2]).open("r+b") as file:
        desk = _Desk(backend, mmap.mmap(file.fileno(), SLOT_FORMAT.size))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not stand between two answers
    for line in sys.stdin:
        answer: dict[str, Any]
        try:
            answer = desk.answer(json.loads(line))
        except Exception as error:  # noqa: BLE001 - whatever a runtime cannot do is this subject's failure, not ours
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def _end_with(parent_id: int) -> None:
    """Ends this process, whatever it is at, when its parent has ended and another process has adopted it."""
    while os.getppid() == parent_id:
        time.sleep(_LOOK_INTERVAL_S)
    os._exit(1)


class _Desk:
    """What is loaded, and which of it is at work."""

    def __init__(self, backend: AbstractBackend, slot_file: mmap.mmap) -> None:
        self._backend = backend
        self._slot_file = slot_file
        self._runners: dict[int, AbstractRunner] = {}
        self._samplings: dict[int, Sampling] = {}

    def answer(self, request: Any) -> dict[str, Any]:
        taken_at = time.time()
        match request:
            case {"prepare": subject, "path": path}:
                self._backend.prepare(Subject(**subject), Path(path))
                return {}
            case {"load": subject, "slot": slot, "path": path}:
                return self._load(Subject(**subject), slot, Path(path))
            case {"sample": slot}:
                return {"raw_ms": self._samplings[slot].take_ms(self._runners[slot].run), "taken_at": taken_at}
            case {"in_turn": slots, "num_passes": num_passes}:
                runners = {slot: self._runners[slot] for slot in slots}
                samples_ms = take_samples_in_turn_ms(runners, num_passes=num_passes, announce=self._announce)
                return {"raw_ms": list(samples_ms.values()), "taken_at": taken_at}
            case {"sustain": slot, "num_runs": num_runs, "duration_s": duration_s}:
                return {"raw_ms": self._sustain(slot, num_runs, duration_s)}
            case _:
                raise ValueError(f"unknown request {request}")

    def _load(self, subject: Subject, slot: int, path: Path) -> dict[str, Any]:
        memory_growth_mib = self._backend.watch_memory()
        start_s = time.perf_counter()
        runner = self._backend.load(subject, path)
        load_s = time.perf_counter() - start_s
        first_run_s = runner.run(1)
        report = LoadReport(
            load_ms=1000 * load_s if runner.load_ms is None else runner.load_ms,
            first_run_ms=1000 * first_run_s,
            peak_memory_mib=memory_growth_mib(),
            placement=runner.placement,
        )
        sampling = warm_up(runner.run, first_run_s=first_run_s, is_remote=runner.is_remote)
        self._runners[slot], self._samplings[slot] = runner, sampling
        return {"num_runs": sampling.num_runs, **dataclasses.asdict(report)}

    def _sustain(self, slot: int, num_runs: int, duration_s: float) -> list[float]:
        """Milliseconds of one run, for every loop of `num_runs`, one loop right after the other."""
        runner, samples_ms = self._runners[slot], []
        end_s = time.perf_counter() + duration_s
        while time.perf_counter() < end_s:
            samples_ms.append(1000 * runner.run(num_runs) / num_runs)
        return samples_ms

    def _announce(self, slot: int) -> None:
        # A store to shared memory: unlike a written line it costs no system call between two timed runs.
        SLOT_FORMAT.pack_into(self._slot_file, 0, slot)


if __name__ == "__main__":
    main()
