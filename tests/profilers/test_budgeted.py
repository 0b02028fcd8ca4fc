import dataclasses
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import Mock

import pytest
from sqlalchemy import Engine

from profilers import budgeted
from profilers.backends.exact import ExactBackend
from profilers.budgeted import PORTION_SIZE, Guessable, measure_within
from profilers.campaign import run_campaign
from profilers.environment import record_environment
from profilers.latency_table import LatencyTable
from profilers.measure import MeasureOptions
from profilers.measurement import Sample
from profilers.protocol import BUDGET_PROTOCOL, Protocol
from profilers.subject import Subject
from search_space.errors import UsageError
from search_space.space import reachable_specs
from search_space.spaces import search_space

TINY = search_space("tiny")
SPECS = reachable_specs(TINY)
DEVICE = ExactBackend().device


@dataclass
class Clock:
    """A clock on which a block takes a second, or in every portion more or less than in the one before."""

    now_s: float = 0.0
    block_s: float = 1.0
    growth: float = 1.0
    """A portion's seconds for each block over those of the portion before."""

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()

    def run(subjects: list[Subject], *arguments: object, **options: object) -> None:
        run_campaign(subjects, *arguments, **options)  # type: ignore[arg-type]
        clock.now_s += clock.block_s * len(subjects)
        clock.block_s *= clock.growth

    monkeypatch.setattr(budgeted, "run_campaign", run)
    monkeypatch.setattr(budgeted, "time", clock)
    return clock


@pytest.mark.parametrize(("budget_s", "num_known"), [(1, PORTION_SIZE), (80, 76), (200, 190), (10_000, len(SPECS))])
def test_as_many_blocks_are_measured_as_fit_into_the_time(
    sqlite_engine: Engine, clock: Clock, budget_s: float, num_known: int
) -> None:
    coverage = measure_within(TINY, "exact", sqlite_engine, budget_s=budget_s)
    assert (len(coverage.known), len(coverage.missing)) == (num_known, len(SPECS) - num_known)


@pytest.mark.parametrize("growth", [0.9, 1.2])
def test_a_budget_is_used_and_kept_while_the_pace_changes(sqlite_engine: Engine, clock: Clock, growth: float) -> None:
    clock.growth = growth
    measure_within(TINY, "exact", sqlite_engine, budget_s=200)
    assert 150 < clock.now_s <= 200


def test_a_second_budget_goes_on_where_the_first_stopped(sqlite_engine: Engine, clock: Clock) -> None:
    first = measure_within(TINY, "exact", sqlite_engine, budget_s=60)
    second = measure_within(TINY, "exact", sqlite_engine, budget_s=60)
    assert set(first.known) < set(second.known)
    assert len(second.known) == 2 * len(first.known) == 114


def test_blocks_that_were_begun_come_first(sqlite_engine: Engine, clock: Clock) -> None:
    table, begun = LatencyTable(sqlite_engine), SPECS[200:203]
    table.add_device(DEVICE)
    sample = Sample(raw_ms=1, num_runs=1, drift=1, round_index=0, position=0, taken_at=0, is_flagged=False)
    campaign_id = table.start_campaign(DEVICE, protocol="{}", environment=record_environment())
    table.add_samples(DEVICE, {Subject.of_block(spec): [sample] for spec in begun}, campaign_id=campaign_id)
    assert set(begun) < set(measure_within(TINY, "exact", sqlite_engine, budget_s=0).known)


def test_what_is_missing_can_be_guessed(sqlite_engine: Engine, clock: Clock) -> None:
    coverage = measure_within(TINY, "exact", sqlite_engine, budget_s=127)
    found = Guessable.of_missing(coverage.missing, LatencyTable(sqlite_engine), DEVICE)
    assert (found.num_guessed, found.num_unknown) == (len(coverage.missing), 0)
    assert 0 < found.error_percent < 15
    assert "245 more can be guessed" in found.describe()
    nothing = Guessable.of_missing((), LatencyTable(sqlite_engine), DEVICE)
    assert nothing.to_document() == {"num_guessed": 0, "guess_error_percent": 0.0}


def test_a_real_device_keeps_its_budget_and_says_what_is_left(tmp_path: Path) -> None:
    arguments = ["--space", "tiny@8", "--budget", "1s", "--storage", f"sqlite:///{tmp_path / 'table.db'}", "--json"]
    finished = subprocess.run(
        [sys.executable, "-m", "profilers.measure", *arguments], capture_output=True, text=True, check=True
    )
    document = json.loads(finished.stdout)
    assert document["space"] == "tiny@8"
    assert document["num_present"] + document["num_unstable"] == PORTION_SIZE
    assert document["num_guessed"] == document["num_missing"] == document["num_specs"] - PORTION_SIZE
    assert f"{document['num_guessed']} more can be guessed within about" in finished.stderr


@pytest.mark.parametrize("others", [{"again": True}, {"sustained": "10m", "arch": "sd15"}])
def test_a_budget_stands_alone(others: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="--budget"):
        MeasureOptions(budget="10m", **others)  # type: ignore[arg-type]


@pytest.mark.parametrize(("given", "max_rounds"), [(None, 8), (Protocol(max_rounds=30), 30)])
def test_a_budget_with_more_rounds_is_still_a_budget(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch, given: Protocol | None, max_rounds: int
) -> None:
    run = Mock()
    monkeypatch.setattr(budgeted, "run_campaign", run)
    measure_within(TINY, "host-onnxruntime", sqlite_engine, budget_s=0, protocol=given)
    used = run.call_args.kwargs["protocol"]
    assert used == dataclasses.replace(BUDGET_PROTOCOL, max_rounds=max_rounds)
    assert (used.num_passes, used.has_second_chance) == (2, False)


def test_without_a_second_chance_nothing_is_measured_again() -> None:
    assert not BUDGET_PROTOCOL.has_second_chance
    assert Protocol().has_second_chance
