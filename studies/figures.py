"""The figures of a study, as Plotly figures: the second of two steps. `studies.figure_info` says what they show.

The dashboard and the offline report draw the same figures, and `theme.css` recolours their text and lines for dark
screens. Groups differ by colour and by marker shape. Points carry their trial number only (in `customdata`): hover text
for ten thousand trials would be twenty megabytes.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import plotly.graph_objects as go

from profilers.estimating import BlockLatency
from studies.figure_info import BreakdownInfo, Group, HypervolumeInfo, ParetoInfo, ParetoPoint

MAX_SVG_POINTS = 2000  # below, SVG is sharper and needs no WebGL context, of which a page has few

FIGURE_CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["sendChartToCloud", "select2d", "lasso2d"],  # nothing is ever uploaded
    "plotlyServerURL": "",
}
"""How every figure behaves in a page."""
HEIGHT_PX = 440

# Colours near those of Okabe and Ito: safe for colour-blind eyes, visible on white and on black.
_ACCENT = "#1f86c7"
_WARNING = "#d55e00"
_RING = "#cc79a7"
_GROUP_STYLES: dict[Group, tuple[str, dict[str, object]]] = {
    "dominated": ("dominated", {"symbol": "circle", "size": 8, "color": "#8b95a5", "opacity": 0.75}),
    "front": ("Pareto front", {"symbol": "diamond", "size": 12, "color": _ACCENT}),
}
_OVER_BUDGET_MARKER = {"symbol": "x-thin", "size": 8, "line": {"width": 2, "color": _WARNING}}

_KIND_COLORS = {  # Paul Tol's bright scheme, and two of his muted one for the rare kinds
    "residual": "#4477aa",
    "transformer": "#ee6677",
    "downsample": "#66ccee",
    "upsample": "#228833",
    "conv": "#ccbb44",
    "norm_out": "#aa3377",
    "time_embedding": "#bbbbbb",
    "context_projection": "#999933",
    "added_embedding": "#44aa99",
}

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
_TEXT = "#5b6575"  # readable on white; theme.css replaces it on dark screens
_GRID = "#e3e7ed"


def pareto_figure(info: ParetoInfo, *, selected: int | None = None) -> go.Figure:
    """The scatter of latency against score, with the front as a staircase.

    Args:
        info: What to draw.
        selected: A trial to put a ring around.
    """
    figure = go.Figure(layout=_layout())
    front = info.group("front")
    figure.add_trace(
        go.Scatter(
            x=[point.latency_ms for point in front],
            y=[point.score for point in front],
            mode="lines",
            line={"shape": "hv", "color": _ACCENT, "width": 1.5},
            opacity=0.45,
            hoverinfo="skip",
            showlegend=False,
        )
    )
    scatter = go.Scatter if len(info.points) + len(info.over_budget) <= MAX_SVG_POINTS else go.Scattergl
    score_line = f"<br>{_axis_word(info)} %{{y:.4g}}"
    for group, (label, marker) in _GROUP_STYLES.items():
        points = info.group(group)
        trace = scatter(x=_floats([point.latency_ms for point in points]), y=_floats([point.score for point in points]))
        _add_markers(figure, trace, [point.number for point in points], label, marker, hover=score_line)
    latencies_ms = [latency_ms for _, latency_ms in info.over_budget]
    trace = scatter(x=_floats(latencies_ms), y=numpy.full(len(latencies_ms), 0.02), yaxis="y2")
    numbers = [number for number, _ in info.over_budget]
    _add_markers(figure, trace, numbers, "over budget, not trained", _OVER_BUDGET_MARKER, hover="")
    _ring(figure, [point for point in info.points if point.number == selected])
    if info.latency_budget_ms is not None:
        figure.add_vline(
            x=info.latency_budget_ms,
            line={"dash": "dash", "width": 1.5, "color": _WARNING},
            annotation={"text": f"budget {info.latency_budget_ms:.4g} ms", "font": {"color": _WARNING}, "xshift": 4},
        )
    word = info.latency_caveat or "sum of measured blocks"
    arrow = "higher is better" if info.is_score_maximized else "lower is better"
    figure.update_xaxes(title_text=f"latency on {_plain(info.device_name)}, {word} (ms)")
    figure.update_xaxes(autorangeoptions=_clip(_latency_range(info)))
    figure.update_layout(
        yaxis={"title": {"text": f"{_axis_word(info)} ({arrow})"}, "autorangeoptions": _clip(_score_range(info))},
        yaxis2={"overlaying": "y", "range": (0, 1), "fixedrange": True, "visible": False},  # a rug along the bottom
    )
    return figure


def _add_markers(
    figure: go.Figure,
    trace: go.Scatter | go.Scattergl,
    numbers: Sequence[int],
    label: str,
    marker: Mapping[str, object],
    *,
    hover: str,
) -> None:
    """Adds one group of trials, drawn and named alike in SVG and WebGL."""
    trace.update(
        mode="markers",
        name=f"{label} ({len(numbers)})",
        customdata=tuple(numbers),  # Dash leaves it out of a click if it is an encoded array
        marker=marker,
        hovertemplate=f"trial %{{customdata}}<br>%{{x:.4g}} ms{hover}<extra>{label}</extra>",
    )
    figure.add_trace(trace)


def num_outside(info: ParetoInfo) -> int:
    """How many points the figure's first view leaves out because they are far from all the others."""
    latency_range, score_range = _latency_range(info), _score_range(info)
    return sum(
        not (_is_inside(point.latency_ms, latency_range) and _is_inside(point.score, score_range))
        for point in info.points
    )


def breakdown_figure(info: BreakdownInfo) -> go.Figure:
    """One bar for each part of the network, made of its blocks, coloured by kind; guessed ones are hatched."""
    figure = go.Figure(layout=_layout())
    kinds = dict.fromkeys(block.kind for section in info.sections for block in section.blocks)
    for kind in kinds:
        placed = [(section, block) for section in info.sections for block in section.blocks if block.kind == kind]
        figure.add_trace(
            go.Bar(
                y=[section.name for section, _ in placed],
                x=[block.latency_ms for _, block in placed],
                customdata=[[_block_text(block), 100 * block.latency_ms / info.latency_ms] for _, block in placed],
                orientation="h",
                name=kind.replace("_", " "),
                marker={
                    "color": _KIND_COLORS[kind],
                    "line": {"width": 1, "color": "rgba(255,255,255,0.7)"},
                    "pattern": {"shape": ["/" if block.is_interpolated else "" for _, block in placed]},
                },
                hovertemplate="%{customdata[0]}<br>%{x:.4g} ms, %{customdata[1]:.1f} %<extra>%{fullData.name}</extra>",
            )
        )
    figure.update_layout(barmode="stack", bargap=0.28, height=150 + 30 * len(info.sections), hovermode="closest")
    words = "; ".join([*info.labels, f"the bars sum to {info.latency_ms:.4g} ms"])
    figure.update_xaxes(title_text=_plain(f"latency (ms); {words}"), rangemode="tozero")
    names = [section.name for section in info.sections]
    figure.update_yaxes(autorange="reversed", showgrid=False, ticksuffix="  ", categoryarray=names)
    return figure


def _block_text(block: BlockLatency) -> str:
    return f"{block.name}, guessed" if block.is_interpolated else block.name


def hypervolume_figure(info: HypervolumeInfo) -> go.Figure:
    """The area that the front covers, trial by trial."""
    figure = go.Figure(layout=_layout())
    figure.add_trace(
        go.Scatter(
            x=info.numbers,
            y=info.hypervolumes,
            mode="lines+markers" if len(info.numbers) < 60 else "lines",
            line={"shape": "hv", "color": _ACCENT, "width": 2},
            marker={"size": 5},
            hovertemplate="after trial %{x}<br>hypervolume %{y:.5g}<extra></extra>",
        )
    )
    latency_ms, score = info.reference_point
    figure.update_xaxes(title_text="trial")
    figure.update_yaxes(title_text=f"hypervolume to ({latency_ms:.4g} ms, {score:.4g})", rangemode="tozero")
    return figure


def _layout() -> go.Layout:
    axis = {"gridcolor": _GRID, "zeroline": False, "linecolor": _GRID, "automargin": True}
    return go.Layout(
        template=None,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": _FONT, "size": 13, "color": _TEXT},
        margin={"l": 64, "r": 24, "t": 36, "b": 56},
        height=HEIGHT_PX,
        xaxis={**axis, "title": {"standoff": 12, "font": {"size": 13}}},
        yaxis={**axis, "title": {"standoff": 12, "font": {"size": 13}}},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
        hoverlabel={"font": {"family": _FONT, "size": 13}},
        uirevision="constant",  # a refresh leaves zoom, pan and hidden legend entries as they are
    )


def _ring(figure: go.Figure, points: Sequence[ParetoPoint]) -> None:
    figure.add_trace(
        go.Scatter(
            x=[point.latency_ms for point in points],
            y=[point.score for point in points],
            mode="markers",
            marker={"symbol": "circle-open", "size": 22, "color": _RING, "line": {"width": 2.5}},
            hoverinfo="skip",
            showlegend=False,
        )
    )


def _floats(values: Sequence[float]) -> numpy.ndarray:
    return numpy.array(values, dtype=numpy.float64)


def _axis_word(info: ParetoInfo) -> str:
    return _plain(info.score_name.replace("_", " "))


def _plain(text: str) -> str:
    """Text that a figure shows as it is: Plotly reads `<b>` and the like as markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _latency_range(info: ParetoInfo) -> tuple[float, float] | None:
    latencies_ms = [point.latency_ms for point in info.points] + [latency_ms for _, latency_ms in info.over_budget]
    return _robust_range(latencies_ms, also=info.latency_budget_ms)


def _score_range(info: ParetoInfo) -> tuple[float, float] | None:
    return _robust_range([point.score for point in info.points], also=None)


def _robust_range(values: Sequence[float], *, also: float | None) -> tuple[float, float] | None:
    """A range for an axis in which one wild value does not squeeze all the others into a line; None: nothing to show.

    The limits are Tukey's outer fences, six times the interquartile range around the middle half.
    """
    if not values:
        return None
    first, third = numpy.percentile(values, (25, 75))
    reach = 6 * (third - first) or math.inf
    shown = [value for value in values if first - reach <= value <= third + reach]
    low, high = min(shown), max(shown)
    if also is not None and low - reach <= also <= high + reach:
        low, high = min(low, also), max(high, also)
    margin = 0.06 * (high - low) or 0.5 * abs(high) or 1.0
    return low - margin, high + margin


def _clip(limits: tuple[float, float] | None) -> dict[str, float]:
    """Limits for a range that Plotly chooses. A range of ours would end a reader's zoom whenever it changes."""
    return {} if limits is None else {"clipmin": limits[0], "clipmax": limits[1]}


def _is_inside(value: float, limits: tuple[float, float] | None) -> bool:
    return limits is not None and limits[0] <= value <= limits[1]
