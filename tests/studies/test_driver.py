"""The search owns its trials: whatever an evaluation does and whenever the run dies, the records stay whole."""

import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from profilers.backends.exact import ExactBackend
from profilers.estimating import MissingLatencyError, estimate
from profilers.latency_table import LatencyTable
from profilers.storage import open_engine
from profilers.subject import Subject
from search_space.errors import SnapNASError
from search_space.space import random_arch, reachable_specs, suggest_arch
from studies.config import LatencyLimit
from studies.optuna_study import LATENCY_CONSTRAINT
from studies.results import StudyReader, TrialResult, pareto_front
from studies.writer import MAX_LOG_BYTES, StudyWriter
from tests.studies.searching import STUDY, Counting, check_invariants, open_search, search, search_config


@pytest.fixture
def measured_copy(measured_space_folder: Path, tmp_path: Path) -> Iterator[Engine]:
    """A second database like that of `search_engine`."""
    shutil.copy(measured_space_folder / "snapnas.db", tmp_path / "copy.db")
    engine = open_engine(f"sqlite:///{tmp_path / 'copy.db'}")
    yield engine
    engine.dispose()


def _raise(error: BaseException) -> Callable[[], NoReturn]:
    def act() -> NoReturn:
        raise error

    return act


def _budget_ms(engine: Engine, *, share: float) -> float:
    table, device = LatencyTable(engine), ExactBackend().device
    space = search_config().search_space
    return sorted(estimate(random_arch(space, seed), table, device).latency_ms for seed in range(20))[int(20 * share)]


def test_a_search_evaluates_as_many_architectures_as_asked_and_a_second_one_none(search_engine: Engine) -> None:
    first, second = Counting(), Counting()
    records, trials = search(search_engine, first)
    check_invariants(records, trials)
    assert len(first.arch_ids) == 4
    assert pareto_front(records)
    assert [record.details for record in records] == [{"not_a_number": None}] * 4
    assert search(search_engine, second)[0] == records
    assert second.arch_ids == []


def test_what_an_evaluation_left_is_registered_and_what_is_not_here_costs_nothing(
    search_engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "workspace" / "sheet.png").write_bytes(b"picture")
    evaluate = Counting(artifacts={"samples": "sheet.png", "grid": "elsewhere.png"})
    records, trials = search(search_engine, evaluate, search_config(num_trials=2))
    check_invariants(records, trials)
    artifacts = StudyReader(search_engine).artifacts(STUDY)
    assert [(artifact.number, artifact.kind, artifact.path) for artifact in artifacts] == [
        (0, "samples", "sheet.png"),
        (1, "samples", "sheet.png"),
    ]
    assert "trial 1 left its grid elsewhere" in caplog.text


def test_more_trials_go_on_where_the_search_ended(search_engine: Engine) -> None:
    search(search_engine, Counting(), search_config(num_trials=2))
    evaluate = Counting()
    records, trials = search(search_engine, evaluate, search_config(num_trials=3))
    check_invariants(records, trials)
    assert len(evaluate.arch_ids) == 1


def test_a_resumed_search_proposes_what_an_unbroken_one_would(search_engine: Engine, measured_copy: Engine) -> None:
    unbroken, _ = search(search_engine, Counting(), search_config(num_trials=4))
    search(measured_copy, Counting(), search_config(num_trials=2))
    resumed, _ = search(measured_copy, Counting(), search_config(num_trials=4))
    assert [record.arch_id for record in resumed] == [record.arch_id for record in unbroken]


def test_an_architecture_above_the_budget_is_never_evaluated_and_its_excess_is_told(search_engine: Engine) -> None:
    budget_ms = _budget_ms(search_engine, share=0.3)
    evaluate = Counting()
    config = search_config(latency_budget=LatencyLimit(max_latency_ms=budget_ms), num_trials=3)
    records, trials = search(search_engine, evaluate, config)
    check_invariants(records, trials)
    infeasible = [record for record in records if record.state == "infeasible"]
    assert infeasible
    assert not {record.arch_id for record in infeasible} & set(evaluate.arch_ids)
    for record in infeasible:
        assert record.latency_ms is not None
        assert trials[record.number].constraints == {LATENCY_CONSTRAINT: record.latency_ms / budget_ms - 1}
        assert record.violation == record.latency_ms / budget_ms - 1 > 0


def test_an_architecture_that_does_not_fit_breaks_the_constraint_and_a_missing_block_stops(
    search_engine: Engine,
) -> None:
    table, device = LatencyTable(search_engine), ExactBackend().device
    some = [Subject.of_block(spec) for spec in reachable_specs(search_config().search_space)][::10]
    for subject in some:
        table.fail(device, subject, reason="needs 9 GiB", status="does_not_fit")
    records, trials = search(search_engine, Counting())
    check_invariants(records, trials)
    infeasible = [record for record in records if record.state == "infeasible"]
    assert infeasible
    for record in infeasible:
        assert record.failure is not None
        assert record.failure.type == "DoesNotFitError"
        assert trials[record.number].constraints == {LATENCY_CONSTRAINT: 1.0}
    table.forget(device, some)
    with pytest.raises(MissingLatencyError, match="no latency of"):
        search(search_engine, Counting(), search_config(num_trials=len(records) + 20))


def test_an_impossible_budget_ends_the_search(search_engine: Engine) -> None:
    evaluate = Counting()
    config = search_config(latency_budget=LatencyLimit(max_latency_ms=1e-3), max_infeasible_in_row=3)
    records, trials = search(search_engine, evaluate, config)
    check_invariants(records, trials)
    assert ([record.state for record in records], evaluate.arch_ids) == (["infeasible"] * 3, [])


def test_a_repeated_architecture_takes_over_the_result(search_engine: Engine) -> None:
    records, trials = search(search_engine, Counting(), search_config(num_trials=2))
    with open_search(search_engine) as study:
        study.enqueue_trial(trials[1].params)
    evaluate = Counting()
    records, trials = search(search_engine, evaluate, search_config(num_trials=3))
    check_invariants(records, trials)
    assert [record.state for record in records] == ["complete", "complete", "duplicate", "complete"]
    assert (records[2].duplicate_of, records[2].values) == (1, records[1].values)
    assert records[1].arch_id not in evaluate.arch_ids
    assert records[2] not in pareto_front(records)


def test_after_many_repetitions_an_untried_architecture_is_drawn(search_engine: Engine) -> None:
    _, trials = search(search_engine, Counting(), search_config(num_trials=1))
    with open_search(search_engine) as study:
        for _ in range(2):
            study.enqueue_trial(trials[0].params)
    records, trials = search(search_engine, Counting(), search_config(num_trials=2, max_duplicates_in_row=2))
    check_invariants(records, trials)
    assert [record.state for record in records] == ["complete", "duplicate", "duplicate", "complete"]
    assert "fixed_params" in trials[3].system_attrs


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_a_value_that_is_no_finite_number_fails_the_trial_and_not_the_study(
    search_engine: Engine, value: float
) -> None:
    records, trials = search(search_engine, Counting({0: lambda: value}), search_config(num_trials=2))
    check_invariants(records, trials)
    assert [record.state for record in records] == ["failed", "complete"]
    failure = records[0].failure
    assert failure is not None
    assert (failure.type, repr(value) in failure.message) == ("NotFinite", True)


def test_an_exception_is_kept_with_its_log(search_engine: Engine) -> None:
    evaluate = Counting({0: _raise(RuntimeError("out of \0 memory " * 2000))})
    records, trials = search(search_engine, evaluate, search_config(num_trials=2))
    check_invariants(records, trials)
    failure = records[0].failure
    assert failure is not None
    assert failure.type == "RuntimeError"
    assert failure.message.startswith("out of  memory")
    assert len(failure.log.encode()) <= MAX_LOG_BYTES
    assert failure.log.rstrip().endswith("memory")


def test_what_failed_is_not_evaluated_again(search_engine: Engine) -> None:
    failing = Counting({1: _raise(RuntimeError("too large"))})
    _, trials = search(search_engine, failing, search_config(num_trials=2))
    with open_search(search_engine) as study:
        study.enqueue_trial(trials[1].params)
    evaluate = Counting()
    records, trials = search(search_engine, evaluate, search_config(num_trials=3))
    check_invariants(records, trials)
    assert [record.state for record in records] == ["complete", "failed", "failed", "complete"]
    assert [record.duplicate_of for record in records] == [None, None, 1, None]
    assert (records[2].failure and records[2].failure.message) == "as trial 1: too large"
    assert failing.arch_ids[1] not in evaluate.arch_ids
    assert search(search_engine, Counting(), search_config(num_trials=3))[0] == records


def test_many_failures_in_a_row_stop_the_search_and_a_resumed_one_goes_on(search_engine: Engine) -> None:
    failing = Counting({index: _raise(ValueError("no disk")) for index in range(2)})
    config = search_config(num_trials=4, max_failures_in_row=2)
    with pytest.raises(SnapNASError, match="2 trials failed one after another.*ValueError: no disk") as caught:
        search(search_engine, failing, config)
    assert len(str(caught.value).splitlines()) <= 3
    records, trials = search(search_engine, Counting(), config)
    check_invariants(records, trials)
    assert [record.state for record in records] == ["failed", "failed", "complete", "complete"]


def test_an_interrupted_trial_is_closed_and_tried_again_first(search_engine: Engine) -> None:
    interrupted = Counting({1: _raise(KeyboardInterrupt())})
    with pytest.raises(KeyboardInterrupt):
        search(search_engine, interrupted, search_config(num_trials=3))
    check_invariants(*search(search_engine, Counting(), search_config(num_trials=1)))
    evaluate = Counting()
    records, trials = search(search_engine, evaluate, search_config(num_trials=3))
    check_invariants(records, trials)
    assert [record.state for record in records] == ["complete", "failed", "complete", "complete"]
    assert (records[1].failure and records[1].failure.type) == "Interrupted"
    assert evaluate.arch_ids[0] == interrupted.arch_ids[1] == records[1].arch_id
    assert trials[2].user_attrs == {"retry_of": 1}


def test_a_killed_run_loses_only_what_was_in_flight(search_engine: Engine) -> None:
    config = search_config(num_trials=3)
    table, device, archs = LatencyTable(search_engine), ExactBackend().device, []
    with open_search(search_engine, config) as study:
        writer = StudyWriter(search_engine, STUDY)
        for _ in range(2):  # what a run leaves that was killed after writing a result, and while evaluating
            trial = study.ask()
            archs.append(suggest_arch(trial, config.search_space))
            latency = estimate(archs[-1], table, device)
            writer.start_trial(trial.number, archs[-1], estimate=latency, violation=None, seed=0)
        writer.complete_trial(0, TrialResult(proxy_value=2.0, duration_s=1.0, host="there"))
        study.ask()  # and before anything was written down
    evaluate = Counting()
    records, trials = search(search_engine, evaluate, config)
    check_invariants(records, trials)
    assert [record.state for record in records] == ["complete", "failed", "failed", "complete", "complete"]
    assert [record.failure.type for record in records if record.failure] == ["Lost", "Lost"]
    assert trials[0].values == [records[0].latency_ms, 2.0]
    assert evaluate.arch_ids[0] == archs[1].arch_id
    assert archs[0].arch_id not in evaluate.arch_ids


_ACTIONS: dict[str, Callable[[], Callable[[], float]]] = {
    "nan": lambda: lambda: math.nan,
    "raise": lambda: _raise(OSError("disk")),
    "interrupt": lambda: _raise(KeyboardInterrupt()),
    "exit": lambda: _raise(SystemExit(1)),
}


@settings(max_examples=5)
@given(actions=st.dictionaries(st.integers(0, 4), st.sampled_from(sorted(_ACTIONS)), max_size=3))
def test_however_evaluations_end_the_records_stay_whole(measured_space_folder: Path, actions: dict[int, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = (measured_space_folder / "snapnas.db").read_bytes()
        (Path(folder) / "snapnas.db").write_bytes(source)
        engine = open_engine(f"sqlite:///{folder}/snapnas.db")
        evaluate = Counting({index: _ACTIONS[action]() for index, action in actions.items()})
        config = search_config(num_trials=4, max_failures_in_row=4)
        for _ in range(4):
            try:
                records, trials = search(engine, evaluate, config)
                break
            except (KeyboardInterrupt, SystemExit):
                continue
        check_invariants(records, trials)
        num_failed = sum(
            action in ("nan", "raise") for index, action in actions.items() if index < len(evaluate.arch_ids)
        )
        assert sum(record.state == "complete" for record in records) == 4 - num_failed
        engine.dispose()
