"""Small pieces that the page is made of. Dash escapes every text, so what a database says stays text."""

from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go
from dash import dcc, html
from dash.development.base_component import Component

from studies.figures import FIGURE_CONFIG, HEIGHT_PX

EMPTY_FIGURE = go.Figure(
    layout={"height": HEIGHT_PX, "xaxis": {"visible": False}, "yaxis": {"visible": False}, "template": None}
)

Cell = str | Component


def card(title: str, *children: Any) -> Component:
    return html.Section([html.H2(title), *children], className="card")


def facts(pairs: Iterable[tuple[str, str]]) -> Component:
    """Names and values, in as many columns as fit."""
    return html.Dl([html.Div([html.Dt(name), html.Dd(value)]) for name, value in pairs], className="facts")


def table(headers: Sequence[str], rows: Iterable[Sequence[Cell]], *, selected: int | None = None) -> Component:
    """A table that scrolls sideways when it has to.

    Args:
        headers: One for each column.
        rows: Cells.
        selected: Index of the row to mark.
    """
    body = [
        html.Tr([html.Td(cell) for cell in row], className="selected" if index == selected else "")
        for index, row in enumerate(rows)
    ]
    head = html.Thead(html.Tr([html.Th(header) for header in headers]))
    return html.Div(html.Table([head, html.Tbody(body)]), className="scroll")


def badge(text: str, kind: str = "") -> Component:
    return html.Span(text, className=f"badge {kind}".strip())


def graph(id: str, label: str, figure: go.Figure) -> Component:
    """A figure, with its subject in words for those who cannot see it."""
    attributes: dict[str, Any] = {"role": "figure", "aria-label": label}
    config: Any = FIGURE_CONFIG
    # Without a height of its own, the element is as low as its card before the figure is drawn, and stays so.
    drawing = dcc.Graph(id=id, figure=figure, config=config, style={"height": f"{figure.layout.height}px"})
    return html.Div(drawing, **attributes)


def code(text: str) -> Component:
    return html.Pre(html.Code(text))


def hidden_text(title: str, text: str) -> Component:
    """Long text that opens on demand."""
    return html.Details([html.Summary(title), code(text)])


def warning(text: str) -> Component:
    return html.P(text, className="warning message")
