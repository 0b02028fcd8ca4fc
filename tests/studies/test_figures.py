"""What the figures show, as numbers: groups, areas and sums, whatever the trials hold."""

import dataclasses
import datetime
import math
import random

import numpy
import optuna
import plotly.graph_objects as go
import pytest
from optuna.visualization import plot_hypervolume_history

from profilers.backends.exact import ExactBackend
from profilers.estimating import estimate
from profilers.latency_table import LatencyTable
from profilers.subject import Subject
from search_space.walk import block_specs, walk
from studies.figure_info import BreakdownInfo, ParetoInfo, breakdown_info, hypervolume_info, pareto_info
from studies.figures import MAX_SVG_POINTS, breakdown_figure, hypervolume_figure, num_outside, pareto_figure
from studies.results import Direction, Objective, StudyReader, StudySummary, TrialRecord, pareto_front
from tests.studies.sample_study import STUDY, SampleStudy, sample_arch

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
LATENCY = Objective(name="latency_ms", direction="minimize")


def _study(direction: Direction = "minimize", **changes: object) -> StudySummary:
    summary = StudySummary(
        name="s",
        objectives=(LATENCY, Objective(name="score", direction=direction)),
        device="exact",
        device_id="0" * 12,
        is_latency_estimated=True,
        latency_budget_ms=10.0,
        num_trials_by_state={},
        best=None,
        config={},
        fingerprint={},
        created_at=NOON,
        updated_at=NOON,
    )
    return dataclasses.replace(summary, **changes)  # type: ignore[arg-type]


def _trial(number: int, latency_ms: float, score: float, *, direction: Direction = "minimize") -> TrialRecord:
    return TrialRecord(
        study_name="s",
        number=number,
        state="complete",
        objectives=(LATENCY, Objective(name="score", direction=direction)),
        values={"latency_ms": latency_ms, "score": score},
        arch_id="0" * 12,
        latency_ms=latency_ms,
        latency_low_ms=latency_ms,
        latency_high_ms=latency_ms,
        violation=latency_ms / 10 - 1,
        duplicate_of=None,
        failure=None,
        details={},
        duration_s=1.0,
        started_at=NOON,
        finished_at=NOON,
        seed=0,
        host="here",
    )


def _infeasible(number: int, latency_ms: float) -> TrialRecord:
    return dataclasses.replace(_trial(number, latency_ms, 0.0), state="infeasible", values={})


def _random_trials(num_trials: int, *, direction: Direction = "minimize") -> list[TrialRecord]:
    source = random.Random(num_trials)
    return [
        _trial(number, source.randrange(1, 11), source.randrange(1, 20) / 10, direction=direction)
        for number in range(num_trials)
    ]


def test_groups_agree_with_the_pareto_front() -> None:
    trials = _random_trials(60)
    info = pareto_info(_study(), trials)
    assert {point.number for point in info.group("front")} == {record.number for record in pareto_front(trials)}
    assert len(info.group("front")) + len(info.group("dominated")) == len(trials)


def test_architectures_over_the_budget_are_shown_without_a_score() -> None:
    info = pareto_info(_study(), [_trial(0, 3.0, 0.5), _infeasible(1, 12.0)])
    assert [point.number for point in info.points] == [0]
    assert info.over_budget == ((1, 12.0),)


def test_a_duplicate_is_drawn_once() -> None:
    duplicate = dataclasses.replace(_trial(1, 3.0, 0.5), state="duplicate", duplicate_of=0)
    assert len(pareto_info(_study(), [_trial(0, 3.0, 0.5), duplicate]).points) == 1


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_hypervolumes_match_optuna(direction: Direction) -> None:
    trials = _random_trials(80, direction=direction)
    info = hypervolume_info(_study(direction, latency_budget_ms=None), trials)
    assert info is not None
    study = optuna.create_study(directions=["minimize", direction])
    study.add_trials([optuna.trial.create_trial(values=list(trial.values.values())) for trial in trials])
    expected = plot_hypervolume_history(study, reference_point=info.reference_point).data[0].y
    numpy.testing.assert_allclose(info.hypervolumes, expected, rtol=1e-9)


def test_hypervolume_never_falls_and_ignores_infinity() -> None:
    trials = [*_random_trials(40), _trial(40, 1.0, -math.inf), _trial(41, math.nan, 0.1)]
    info = hypervolume_info(_study(), trials)
    assert info is not None
    assert len(info.hypervolumes) == 40
    assert all(math.isfinite(area) for area in info.hypervolumes)
    assert list(info.hypervolumes) == sorted(info.hypervolumes)


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [_trial(0, 3.0, 0.5)],
        [_infeasible(0, 12.0), _infeasible(1, 13.0)],
        [_trial(0, 3.0, math.nan), _trial(1, math.inf, 0.5)],
        [_trial(number, 3.0, 0.5) for number in range(5)],
    ],
    ids=["none", "one", "all infeasible", "not finite", "all equal"],
)
def test_every_study_has_figures_with_finite_ranges(trials: list[TrialRecord]) -> None:
    info = pareto_info(_study(), trials)
    figure = pareto_figure(info)
    assert "NaN" not in figure.to_json()
    assert figure.layout.xaxis.range is None  # or a refresh would end a reader's zoom
    clips = (figure.layout.xaxis.autorangeoptions.clipmin, figure.layout.xaxis.autorangeoptions.clipmax)
    assert all(end is None or math.isfinite(end) for end in clips)
    history = hypervolume_info(_study(), trials)
    assert history is None or hypervolume_figure(history).to_json()


def test_one_wild_value_leaves_the_others_readable() -> None:
    trials = [*_random_trials(40), _trial(40, 1.0, 1e20)]
    info = pareto_info(_study(), trials)
    assert pareto_figure(info).layout.yaxis.autorangeoptions.clipmax < 10
    assert num_outside(info) == 1


def test_points_carry_their_trial_and_nothing_else() -> None:
    figure = pareto_figure(pareto_info(_study(), _random_trials(30)))
    drawn = [trace for trace in figure.data if trace.customdata is not None]
    assert sorted(number for trace in drawn for number in trace.customdata) == list(range(30))
    assert len({trace.marker.symbol for trace in drawn}) == len(drawn)


@pytest.mark.parametrize(("num_trials", "kind"), [(50, go.Scatter), (MAX_SVG_POINTS + 1, go.Scattergl)])
def test_large_studies_are_drawn_with_webgl(num_trials: int, kind: type) -> None:
    figure = pareto_figure(pareto_info(_study(), _random_trials(num_trials)))
    markers = [trace for trace in figure.data if trace.customdata is not None]
    assert {type(trace) for trace in markers} == {kind}


def test_an_estimated_device_says_so_and_markup_in_its_name_is_text() -> None:
    info = pareto_info(_study(device="<b>phone</b>"), [_trial(0, 3.0, 0.5)])
    title = pareto_figure(info).layout.xaxis.title.text
    assert "estimate" in title
    assert "<b>" not in title
    measured: ParetoInfo = dataclasses.replace(info, latency_caveat="")
    assert "estimate" not in pareto_figure(measured).layout.xaxis.title.text


def test_breakdown_bars_sum_to_the_estimate(empty_study: SampleStudy) -> None:
    estimated = estimate(sample_arch(0), LatencyTable(empty_study.engine), ExactBackend().device)
    info: BreakdownInfo = breakdown_info(estimated)
    assert math.isclose(sum(section.latency_ms for section in info.sections), estimated.latency_ms)
    figure = breakdown_figure(info)
    assert math.isclose(sum(sum(trace.x) for trace in figure.data), estimated.latency_ms)
    names = [name for trace in figure.data for name, _ in trace.customdata]
    assert sorted(names) == sorted(block.name for block in estimated.blocks)


def test_guessed_blocks_are_hatched_and_named_as_such(empty_study: SampleStudy) -> None:
    table, device, arch = LatencyTable(empty_study.engine), ExactBackend().device, sample_arch(0)
    guessed_spec = next(spec for spec in block_specs(arch) if spec.kind == "residual")
    table.forget(device, [Subject.of_block(guessed_spec)])
    info = breakdown_info(estimate(arch, table, device, interpolate=True))
    figure = breakdown_figure(info)
    hatched = {
        text
        for trace in figure.data
        for (text, _), shape in zip(trace.customdata, trace.marker.pattern.shape, strict=True)
        if shape
    }
    names = {block.name for block in walk(arch) if block.spec == guessed_spec}
    assert hatched == {f"{name}, guessed" for name in names}
    assert "1 distinct blocks interpolated" in figure.layout.xaxis.title.text


def test_a_study_with_guesses_says_so(empty_study: SampleStudy) -> None:
    summary = _study(is_latency_estimated=False)
    assert (summary.latency_caveat, summary.latency_unit) == ("", "ms")
    guessing = _study(is_latency_estimated=False, config={"interpolate": True})
    assert (guessing.latency_caveat, guessing.latency_unit) == ("partly guessed", "ms, partly guessed")
    assert "partly guessed" in pareto_figure(pareto_info(guessing, [_trial(0, 3.0, 0.5)])).layout.xaxis.title.text
    assert _study(config={"interpolate": True}).latency_caveat == "estimate"


def test_figures_of_a_real_study_hold_its_trials(filled_study: SampleStudy) -> None:
    reader = StudyReader(filled_study.engine)
    info = pareto_info(reader.study(STUDY), reader.trials(STUDY))
    counts = reader.study(STUDY).num_trials_by_state
    assert len(info.points) == counts["complete"]
    assert len(info.over_budget) == counts["infeasible"] > 0
    assert all(point.latency_ms <= filled_study.budget_ms for point in info.points)
