"""How a run ends: a table of the Pareto front for people, one JSON document for programs."""

import sys
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from studies.pipeline import StudyOutcome
from studies.results import TrialRecord


def outcome_document(outcome: StudyOutcome) -> dict[str, Any]:
    """The last line of stdout with `--json`."""
    return {
        "study": outcome.summary.name,
        "trials": dict(outcome.summary.num_trials_by_state),
        "front": [_trial_document(record) for record in outcome.front],
        "winner": {
            "arch_id": outcome.winner.arch_id,
            "trial": outcome.winner.number,
            "latency_ms": {"estimated": outcome.winner.latency_ms, "measured": outcome.measured_latency_ms},
            "scores": dict(outcome.scores),
        },
        "exported": {kind: str(path) for kind, path in outcome.exported.items()},
    }


def print_outcome(outcome: StudyOutcome) -> None:
    """Prints the front, the winner and where the files are on stderr."""
    console = Console(stderr=True)
    summary = outcome.summary
    is_terminal = console.is_terminal
    table = Table(
        title=f"Pareto front of {summary.name}", box=box.SIMPLE if is_terminal else None, title_justify="left"
    )
    for column in (
        "",
        "trial",
        "architecture",
        f"latency, {summary.latency_unit}",
        "95 % interval",
        summary.objectives[-1].name,
    ):
        table.add_column(column, justify="left" if column in ("", "architecture") else "right")
    for record in outcome.front:
        mark = "*" if record.number == outcome.winner.number else ""
        table.add_row(mark, *_cells(record))
    console.print(table)
    for line in _closing_lines(outcome):
        print(line, file=sys.stderr)


def _cells(record: TrialRecord) -> tuple[str, ...]:
    interval = f"{record.latency_low_ms:.3f} - {record.latency_high_ms:.3f}"
    values = [f"{record.values[objective.name]:.4g}" for objective in record.objectives]
    return str(record.number), str(record.arch_id), values[0], interval, values[-1]


def _closing_lines(outcome: StudyOutcome) -> list[str]:
    winner, summary = outcome.winner, outcome.summary
    counts = ", ".join(f"{number} {state}" for state, number in summary.num_trials_by_state.items() if number)
    budget = f", budget {summary.latency_budget_ms:.3f} ms" if summary.latency_budget_ms is not None else ""
    measured_ms = outcome.measured_latency_ms
    measured = "never measured" if measured_ms is None else f"measured {measured_ms:.3f} ms"
    latency = f"estimated {winner.latency_ms:.3f} ms, {measured} on {summary.device}"
    lines = [f"trials: {counts}", f"winner: {winner.arch_id} (trial {winner.number}), {latency}{budget}"]
    if outcome.scores:
        lines.append("scores: " + ", ".join(f"{name} {value:.3f}" for name, value in outcome.scores.items()))
    if outcome.exported:
        lines += [f"samples: {outcome.exported['grid']}", f"exported: {outcome.exported['card'].parent}"]
    return lines


def _trial_document(record: TrialRecord) -> dict[str, Any]:
    return {"trial": record.number, "arch_id": record.arch_id, **record.values}
