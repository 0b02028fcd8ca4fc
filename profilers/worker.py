"""The process that measures, and does nothing else: `python -m profilers.worker DEVICE`.

It reads one JSON request a line from stdin and answers each with one JSON line on stdout. It ends when stdin ends, so
it never outlives the process that asked. What a runtime raises becomes an answer; what kills the process is seen by
the parent, which starts another.

    {"load": {"kind": "block", "text": "..."}, "slot": 3, "path": "..."}   ->  {"num_runs": 12}
    {"sample": 3, "num_runs": 12}                                          ->  {"raw_ms": 0.0831, "taken_at": 1.7e9}
    {"drop": 3}                                                            ->  {}
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from profilers.backends.abstract import AbstractBackend, AbstractRunner
from profilers.backends.registry import open_backend
from profilers.subject import Subject
from profilers.timing import take_sample_ms, warm_up


def main() -> None:
    backend = open_backend(sys.argv[1])
    runners: dict[int, AbstractRunner] = {}
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, float] | dict[str, str]
        try:
            answer = _answer(request, backend, runners)
        except Exception as error:  # noqa: BLE001 - whatever a runtime cannot do is this subject's failure, not ours
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def _answer(request: Any, backend: AbstractBackend, runners: dict[int, AbstractRunner]) -> dict[str, float]:
    match request:
        case {"load": subject, "slot": slot, "path": path}:
            runner = backend.load(Subject(**subject), Path(path))
            num_runs = warm_up(runner)
            runners[slot] = runner
            return {"num_runs": num_runs}
        case {"sample": slot, "num_runs": num_runs}:
            taken_at = time.time()
            return {"raw_ms": take_sample_ms(runners[slot], num_runs=num_runs), "taken_at": taken_at}
        case {"drop": slot}:
            del runners[slot]
            return {}
        case _:
            raise ValueError(f"unknown request {request}")


if __name__ == "__main__":
    main()
