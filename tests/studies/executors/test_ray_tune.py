"""Ray Tune runs the evaluations and nothing else; a dead worker is a failed trial, not a hanging study."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.studies.executors.test_processes import evaluate
from tests.studies.searching import check_invariants, search, search_config


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_a_search_on_ray_survives_a_killed_worker_an_exception_and_a_nan(
    search_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    from studies.executors.ray_tune import RayTuneExecutor

    executor = RayTuneExecutor(evaluate, num_workers=2)
    try:
        records, trials = search(search_engine, executor, search_config(num_trials=5))
    finally:
        executor.close()
    check_invariants(records, trials)
    assert [record.state for record in records] == ["complete", "failed", "failed", "failed", "complete"]
    assert [record.failure.type for record in records if record.failure] == ["WorkerDied", "ValueError", "NotFinite"]
