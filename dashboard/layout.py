"""The page before any data: what stands where. The callbacks fill it."""

from dash import dcc, html
from dash.development.base_component import Component

from dashboard import ids
from dashboard.components import EMPTY_FIGURE, card, graph
from dashboard.trial_view import invitation

POLL_EVERY_MS = 3000


def page() -> Component:
    """The whole page; what belongs to a study is hidden until there is one."""
    return html.Div(
        [
            dcc.Location(id=ids.URL, refresh=False),
            dcc.Interval(id=ids.POLL, interval=POLL_EVERY_MS),
            dcc.Store(id=ids.SEEN_STUDY),
            dcc.Store(id=ids.SEEN_TRIAL),
            _header(),
            html.Main([html.Div(id=ids.STUDIES), _study()]),
        ]
    )


def _header() -> Component:
    return html.Header(
        [
            html.H1("SnapNAS"),
            html.Span(id=ids.STATUS, className="muted", role="status"),
            html.Button("Pause", id=ids.PAUSE, className="button quiet", n_clicks=0),
        ]
    )


def _study() -> Component:
    pareto = card(
        "Pareto front",
        html.Div(id=ids.STUDY_FACTS),
        graph(ids.PARETO, "architectures by latency and score; the table below holds its front", EMPTY_FIGURE),
        html.P(id=ids.PARETO_NOTE, className="muted"),
        html.Div(id=ids.FRONT),
    )
    history = card("Progress of the search", graph(ids.HISTORY, "hypervolume after each trial", EMPTY_FIGURE))
    trial = html.Div(invitation(), id=ids.TRIAL)
    return html.Div([html.Div([pareto, history]), trial], id=ids.STUDY, className="columns", hidden=True)
