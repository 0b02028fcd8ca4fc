"""The front is what it claims to be, and a reader gives back what the writer wrote."""

import dataclasses
import datetime
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from profilers.storage import open_engine
from search_space.errors import UsageError
from studies.results import TRIAL_STATES, Direction, Objective, StudyReader, TrialRecord, TrialState, pareto_front
from studies.tables import StudyRow
from studies.writer import StudyWriter
from tests.studies.sample_study import OBJECTIVES, SampleStudy
from tests.studies.sample_study import STUDY as SAMPLE_STUDY
from tests.studies.searching import STUDY, Counting, search, search_config


def _record(
    number: int, latency_ms: float, value: float, *, state: TrialState = "complete", direction: Direction = "minimize"
) -> TrialRecord:
    objectives = (Objective(name="latency_ms", direction="minimize"), Objective(name="score", direction=direction))
    return TrialRecord(
        study_name="s",
        number=number,
        state=state,
        objectives=objectives,
        values={"latency_ms": latency_ms, "score": value},
        arch_id=f"{number:012}",
        latency_ms=latency_ms,
        latency_low_ms=latency_ms,
        latency_high_ms=latency_ms,
        violation=None,
        duplicate_of=None,
        failure=None,
        details={},
        duration_s=1.0,
        started_at=datetime.datetime.now(datetime.UTC),
        finished_at=None,
        seed=0,
        host="here",
    )


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(mine <= theirs for mine, theirs in zip(one, other, strict=True))


@given(
    points=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12),
    direction=st.sampled_from(["minimize", "maximize"]),
)
def test_the_front_equals_brute_force(points: list[tuple[int, int]], direction: Direction) -> None:
    records = [_record(number, *point, direction=direction) for number, point in enumerate(points)]
    unbeaten = [one for one in records if not any(_beats(other.losses, one.losses) for other in records)]
    front = pareto_front(records)
    assert {record.number for record in front} == {record.number for record in unbeaten}
    assert [record.latency_ms for record in front] == sorted(record.values["latency_ms"] for record in unbeaten)


@pytest.mark.parametrize("state", ["running", "infeasible", "failed", "duplicate"])
def test_only_evaluated_trials_are_in_the_front(state: TrialState) -> None:
    assert [record.number for record in pareto_front([_record(0, 2, 2), _record(1, 1, 1, state=state)])] == [0]


def test_a_database_without_studies_is_read_as_empty(tmp_path: Path) -> None:
    reader = StudyReader(open_engine(f"sqlite:///{tmp_path}/empty.db"))
    assert (reader.studies(), reader.artifacts("s")) == ([], [])
    with pytest.raises(UsageError, match="no study is called 's'"):
        reader.study("s")
    with pytest.raises(UsageError, match="architecture 'a'"):
        reader.arch("a")


def test_a_summary_counts_every_state_and_names_the_best(search_engine: Engine) -> None:
    records, _ = search(search_engine, Counting({1: lambda: float("nan")}), search_config(num_trials=3))
    reader = StudyReader(search_engine)
    summary = reader.study(STUDY)
    assert reader.studies() == [summary]
    assert summary.num_trials_by_state == {"running": 0, "complete": 2, "infeasible": 0, "failed": 1, "duplicate": 0}
    assert summary.best == min((r for r in records if r.state == "complete"), key=lambda record: record.losses[1])
    assert summary.is_latency_estimated
    assert reader.trial(STUDY, 2) == records[2]
    assert summary.best.arch_id is not None
    assert reader.arch(summary.best.arch_id).arch_id == summary.best.arch_id
    with pytest.raises(UsageError, match="no trial 7"):
        reader.trial(STUDY, 7)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_summary_says_what_its_trials_say(filled_study: SampleStudy, direction: Direction) -> None:
    objectives = (OBJECTIVES[0], dataclasses.replace(OBJECTIVES[1], direction=direction))
    with Session(filled_study.engine) as session, session.begin():
        session.get_one(StudyRow, SAMPLE_STUDY).objectives = json.dumps([vars(one) for one in objectives])
    reader = StudyReader(filled_study.engine)
    records, (summary,) = reader.trials(SAMPLE_STUDY), reader.studies()
    assert summary.num_trials_by_state == dict.fromkeys(TRIAL_STATES, 0) | Counter(one.state for one in records)
    feasible = [record for record in records if record.is_feasible]
    assert summary.best == min(feasible, key=lambda record: (record.losses[-1], record.number))
    times = [record.finished_at or record.started_at for record in records]
    times += [artifact.created_at for artifact in reader.artifacts(SAMPLE_STUDY)]
    assert summary.updated_at == max(times)


def test_an_artifact_is_relative_to_the_workspace_and_changes_with_its_content(
    search_engine: Engine, tmp_path: Path
) -> None:
    search(search_engine, Counting(), search_config(num_trials=1))
    folder = tmp_path / "workspace" / "model"
    folder.mkdir()
    writer, reader = StudyWriter(search_engine, STUDY), StudyReader(search_engine)
    digests = []
    for content in ("one", "four"):
        (folder / "file").write_text(content)
        writer.add_artifact(0, "diffusers", folder, workspace=tmp_path / "workspace")
        writer.add_artifact(0, "weights", folder / "file", workspace=tmp_path / "workspace")
        diffusers, weights = reader.artifacts(STUDY, 0)
        assert (diffusers.path, weights.path, weights.size_bytes) == ("model", "model/file", len(content))
        digests.append((diffusers.sha256, weights.sha256))
    assert digests[0][0] != digests[1][0]
    assert digests[0][1] != digests[1][1]
    assert reader.artifacts(STUDY) == [diffusers, weights]
