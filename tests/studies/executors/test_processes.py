"""Worker processes give the same outcomes as the driver's own process, and their death costs one trial."""

import math
import os
import signal

from profilers.storage import open_engine
from search_space.arch import ArchConfig
from search_space.space import random_arch
from search_space.spaces import TINY
from studies.executors.base import Job, Outcome
from studies.executors.processes import ProcessExecutor
from studies.results import Failure, TrialResult
from tests.studies.searching import check_invariants, measure_all, search, search_config


def evaluate(arch: ArchConfig, number: int) -> TrialResult:
    """Trial 1 kills its worker, trial 2 raises, trial 3 gives NaN."""
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 2:
        raise ValueError("no")
    value = math.nan if number == 3 else float(number)
    return TrialResult(proxy_value=value, duration_s=0.1, host=str(os.getpid()), details={"arch_id": arch.arch_id})


def test_a_killed_worker_is_an_outcome_and_the_others_go_on() -> None:
    executor = ProcessExecutor(evaluate, num_workers=2)
    jobs = [Job(number=number, arch=random_arch(TINY, number)) for number in range(5)]
    outcomes: dict[int, TrialResult | Failure] = {}
    for job in jobs[:2]:
        executor.submit(job)
    for following in [*jobs[2:], None, None]:
        outcome = executor.next_outcome()
        outcomes[outcome.number] = outcome.result
        if following is not None:
            executor.submit(following)
    executor.close()
    assert sorted(outcomes) == [0, 1, 2, 3, 4]
    killed, raised, nan, last = (outcomes[number] for number in (1, 2, 3, 4))
    assert isinstance(killed, Failure)
    assert (killed.type, "signal 9" in killed.message) == ("WorkerDied", True)
    assert isinstance(raised, Failure)
    assert (raised.type, "ValueError: no" in raised.log) == ("ValueError", True)
    assert isinstance(nan, TrialResult)
    assert math.isnan(nan.proxy_value)
    assert isinstance(last, TrialResult)
    assert last.details == {"arch_id": jobs[4].arch.arch_id}
    assert last.host != str(os.getpid())


def test_an_outcome_survives_its_json() -> None:
    for result in (
        TrialResult(proxy_value=1.5, duration_s=2.0, host="h", details={"a": 1}, artifacts={"samples": "a/b.png"}),
        Failure(type="T", message="m"),
    ):
        assert Outcome.from_json(Outcome(number=3, result=result).to_json()) == Outcome(number=3, result=result)


def test_a_search_with_workers_on_a_server_database_keeps_every_record(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url)
    measure_all(engine)
    executor = ProcessExecutor(evaluate, num_workers=2)
    try:
        records, trials = search(engine, executor, search_config(num_trials=6))
    finally:
        executor.close()
    check_invariants(records, trials)
    assert [record.state for record in records] == ["complete", "failed", "failed", "failed", "complete", "complete"]
    engine.dispose()
