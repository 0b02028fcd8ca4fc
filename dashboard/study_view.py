"""A study on the page: the list of studies, the facts of one, its front as a table."""

from collections.abc import Sequence

from dash import dcc, html
from dash.development.base_component import Component

from dashboard.components import badge, card, code, facts, table
from dashboard.workspace import Selection
from studies.figure_info import ParetoInfo
from studies.results import CAVEAT_SENTENCES, StudySummary, TrialRecord


def study_list(studies: Sequence[StudySummary], *, selected: str) -> Component:
    """Every study with its counts, newest first."""
    rows = [
        (
            dcc.Link(study.name, href=Selection(study_name=study.name).to_search()),
            f"{study.device} ({study.latency_caveat})" if study.latency_caveat else study.device,
            states_text(study),
            f"{study.best.values[study.objectives[-1].name]:.4g}" if study.best else "none yet",
            f"{study.updated_at:%Y-%m-%d %H:%M} UTC",
        )
        for study in studies
    ]
    names = [study.name for study in studies]
    headers = ("study", "device", "trials", "best score", "last change")
    return table(headers, rows, selected=names.index(selected) if selected in names else None)


def how_to_start(reason: str) -> Component:
    """What stands on the page before there is anything to show."""
    return card(
        "No study yet",
        html.P(reason, className="muted message"),
        html.P("Start one; it appears here by itself:"),
        code("python -m studies.run"),
    )


def states_text(study: StudySummary) -> str:
    """`22: 16 complete, 4 infeasible, 2 failed`."""
    counts = study.num_trials_by_state
    parts = [f"{count} {state}" for state, count in counts.items() if count]
    return f"{sum(counts.values())}: {', '.join(parts)}" if parts else "none yet"


def study_facts(study: StudySummary) -> list[Component]:
    """What the study was asked to do."""
    budget = "none" if study.latency_budget_ms is None else f"{study.latency_budget_ms:.4g} ms"
    pairs = [
        ("recipe", str(study.config.get("recipe", "unknown"))),
        ("space", str(study.config.get("space", "unknown"))),
        ("data", str(study.config.get("data", "unknown"))),
        ("latency budget", budget),
        ("objectives", ", ".join(f"{one.direction} {one.name}" for one in study.objectives)),
        ("trials", states_text(study)),
    ]
    caveat = study.latency_caveat
    badges = [badge(CAVEAT_SENTENCES[caveat], "estimate")] if caveat else []
    return [*badges, facts(pairs)]


def front_table(
    study: StudySummary, info: ParetoInfo, records: Sequence[TrialRecord], *, winner: int | None, selected: int | None
) -> Component:
    """The front for those who prefer numbers, or a keyboard, to points."""
    by_number = {record.number: record for record in records}
    front = info.group("front")
    if not front:
        return html.P("No trial has both a latency and a score yet.", className="muted")
    rows = []
    for point in front:
        selection = Selection(study_name=study.name, trial=point.number)
        trial: list[Component] = [dcc.Link(f"trial {point.number}", href=selection.to_search())]
        if point.number == winner:
            trial.append(badge("best under the budget", "good"))
        arch_id = html.Code(by_number[point.number].arch_id)
        rows.append((html.Span(trial), arch_id, f"{point.latency_ms:.4g}", f"{point.score:.5g}"))
    numbers = [point.number for point in front]
    headers = ("trial", "architecture", f"latency ({study.latency_unit})", info.score_name.replace("_", " "))
    return table(headers, rows, selected=numbers.index(selected) if selected in numbers else None)
