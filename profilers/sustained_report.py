"""A sustained run as a table for people, a document for programs, and a figure in an HTML page of its own."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profilers.sustained import SustainedRun
from search_space.errors import StorageError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
    from rich.table import Table


def table(run: SustainedRun) -> "Table":
    """Every minute, and how the last compares with the first."""
    from rich.table import Table

    table = Table(title=f"{run.arch_id} on {run.device.name}, without a pause", caption=_drift_text(run))
    table.add_column("from")
    for name in ("median ms", "tenth below ms", "tenth above ms", "against the first", "samples"):
        table.add_column(name, justify="right")
    first_ms = run.periods[0].median_ms
    for period in run.periods:
        table.add_row(
            f"{int(period.start_s) // 60}:{int(period.start_s) % 60:02}",
            f"{period.median_ms:.3f}",
            f"{period.low_ms:.3f}",
            f"{period.high_ms:.3f}",
            f"{100 * (period.median_ms / first_ms - 1):+.1f} %",
            str(period.num_samples),
        )
    return table


def json_document(run: SustainedRun) -> dict[str, Any]:
    return {**dataclasses.asdict(run), "device_id": run.device.device_id, "drift_percent": run.drift_percent}


def figure(run: SustainedRun) -> "Figure":
    """The medians over time, with the middle eight tenths of the samples as a band."""
    import plotly.graph_objects as go

    minutes = [period.start_s / 60 for period in run.periods]
    band_x = [*minutes, *reversed(minutes)]
    band_y = [period.high_ms for period in run.periods] + [period.low_ms for period in reversed(run.periods)]
    figure = go.Figure()
    figure.add_scatter(x=band_x, y=band_y, fill="toself", mode="lines", line_width=0, name="8 of 10 samples")
    medians_ms = [period.median_ms for period in run.periods]
    figure.add_scatter(x=minutes, y=medians_ms, mode="lines+markers", name="median")
    figure.update_layout(
        title=f"{run.arch_id} on {run.device.name}: {_drift_text(run)}",
        xaxis_title="minutes",
        yaxis_title="milliseconds of one run",
        yaxis_rangemode="tozero",
    )
    return figure


def write_figure(run: SustainedRun, path: Path) -> None:
    """Writes the figure as a page that opens without a network."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure(run).write_html(path, include_plotlyjs=True)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error


def _drift_text(run: SustainedRun) -> str:
    first_ms, last_ms = run.periods[0].median_ms, run.periods[-1].median_ms
    return f"first minute {first_ms:.3f} ms, last {last_ms:.3f} ms: {run.drift_percent:+.1f} %"
