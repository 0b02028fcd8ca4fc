"""What every executor offers: it runs `evaluate(arch)` somewhere and says what came of it. Imports no torch.

The driver owns the trials; an executor never sees Optuna or the database. Whatever happens to an evaluation, a raised
exception, a killed process, a result that cannot be read, comes back as an `Outcome`; nothing is lost and nothing
hangs.
"""

import dataclasses
import json
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from search_space.arch import ArchConfig
from search_space.arch_json import arch_from_json
from studies.results import Failure, TrialResult

Evaluate = Callable[[ArchConfig, int], TrialResult]
"""Scores an architecture, given the number of its trial; raises if it cannot."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One architecture to evaluate."""

    number: int
    """Of the trial."""
    arch: ArchConfig
    """What to evaluate."""

    def to_json(self) -> str:
        return json.dumps({"number": self.number, "arch": self.arch.to_json()})

    @classmethod
    def from_json(cls, text: str) -> Self:
        document = json.loads(text)
        return cls(number=document["number"], arch=arch_from_json(document["arch"]))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a job."""

    number: int
    """Of the trial."""
    result: TrialResult | Failure
    """What it gave, or why it gave nothing."""

    def to_json(self) -> str:
        """As text, for another process; a NaN stays one, since refusing it is the driver's business."""
        kind = "failure" if isinstance(self.result, Failure) else "result"
        return json.dumps({"number": self.number, kind: dataclasses.asdict(self.result)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        document = json.loads(text)
        if "failure" in document:
            return cls(number=document["number"], result=Failure(**document["failure"]))
        return cls(number=document["number"], result=TrialResult(**document["result"]))


class AbstractExecutor(ABC):
    """Evaluates jobs, `num_slots` of them at a time."""

    num_slots: int
    """How many jobs may be submitted and not yet come back."""

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Takes a job; at most `num_slots` before an outcome is taken."""

    @abstractmethod
    def next_outcome(self) -> Outcome:
        """Waits for the next job to end, in whatever order they end."""

    @abstractmethod
    def close(self) -> None:
        """Stops whatever runs and frees what it holds; outcomes that were not taken are dropped."""


def run_job(evaluate: Evaluate, job: Job) -> Outcome:
    """Evaluates, and turns an exception into a reason."""
    try:
        return Outcome(number=job.number, result=evaluate(job.arch, job.number))
    except Exception as error:  # noqa: BLE001 - one trial fails, the study goes on
        log = "".join(traceback.format_exception(error))
        message = str(error) or type(error).__name__
        return Outcome(number=job.number, result=Failure(type=type(error).__name__, message=message, log=log))
