"""What makes the page live. The address says what is chosen; the database says what there is; nothing else is state.

    poll or address -> refresh -> list, facts, front, history     only if something changed
    address or refresh -> trial                                   only if the trial changed
    click on a point -> address

A poll waits for the one before it: with requests slower than the interval, Dash would otherwise show nothing, ever.
"""

import datetime
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from dash import Dash, Input, Output, Patch, State, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from dashboard import ids
from dashboard.components import EMPTY_FIGURE, card, warning
from dashboard.study_view import front_table, how_to_start, study_facts, study_list
from dashboard.trial_view import invitation, trial_card
from dashboard.workspace import Selection, Workspace
from search_space.errors import SnapNASError, StorageError
from studies.figure_info import hypervolume_info, pareto_info
from studies.figures import hypervolume_figure, num_outside, pareto_figure
from studies.report import winner_of
from studies.results import StudySummary


def add_callbacks(app: Dash, workspace: Workspace) -> None:
    """Connects the page's components with the workspace."""

    @app.callback(
        Output(ids.STATUS, "children"),
        Output(ids.STUDIES, "children"),
        Output(ids.STUDY, "hidden"),
        Output(ids.STUDY_FACTS, "children"),
        Output(ids.PARETO, "figure"),
        Output(ids.PARETO_NOTE, "children"),
        Output(ids.FRONT, "children"),
        Output(ids.HISTORY, "figure"),
        Output(ids.SEEN_STUDY, "data"),
        Input(ids.POLL, "n_intervals"),
        Input(ids.URL, "search"),
        State(ids.SEEN_STUDY, "data"),
        running=[(Output(ids.POLL, "disabled"), True, False)],
    )
    def refresh(_num_polls: int | None, search: str | None, seen: list[str] | None) -> tuple[Any, ...]:
        selection = Selection.from_search(search)
        try:
            studies = workspace.reader().studies()
        except StorageError as error:
            return _without_study(how_to_start(str(error)), seen, state=f"error {error}")
        if not studies:
            return _without_study(how_to_start("The database holds no study."), seen, state="empty")
        study = _chosen(studies, selection)
        if study is None:
            text = f"There is no study called {selection.study_name!r} here. Choose one of the list."
            children = card("Studies", warning(text), study_list(studies, selected=""))
            return _without_study(children, seen, state=f"unknown {selection.study_name} {_stamp(studies)}")
        seen_now = [study.name, f"{selection.trial} {_stamp(studies)}"]
        if seen_now == seen:
            return (_status(), *[no_update] * 8)
        return (_status(), *_study_outputs(workspace, studies, study, selection, seen=seen), seen_now)

    @app.callback(
        Output(ids.TRIAL, "children"),
        Output(ids.SEEN_TRIAL, "data"),
        Input(ids.URL, "search"),
        Input(ids.SEEN_STUDY, "data"),
        State(ids.SEEN_TRIAL, "data"),
    )
    def show_trial(search: str | None, _seen_study: list[str] | None, seen: str | None) -> tuple[Any, str]:
        selection = Selection.from_search(search)
        if selection.trial is None:
            return invitation(), ""
        try:
            return _trial_outputs(workspace, selection, selection.trial, seen)
        except SnapNASError as error:
            return card(f"Trial {selection.trial}", warning(str(error))), ""

    @app.callback(
        Output(ids.URL, "search"),
        Input(ids.PARETO, "clickData"),
        State(ids.SEEN_STUDY, "data"),
        prevent_initial_call=True,
    )
    def open_trial(click: dict[str, Any] | None, seen: list[str] | None) -> str:
        number = _clicked_trial(click)
        if number is None or not seen:
            raise PreventUpdate
        return Selection(study_name=seen[0], trial=number).to_search()

    @app.callback(
        Output(ids.POLL, "max_intervals"),
        Output(ids.PAUSE, "children"),
        Input(ids.PAUSE, "n_clicks"),
        prevent_initial_call=True,
    )
    def pause(num_clicks: int) -> tuple[int, str]:
        return (0, "Resume") if num_clicks % 2 else (-1, "Pause")


def _study_outputs(
    workspace: Workspace,
    studies: Sequence[StudySummary],
    study: StudySummary,
    selection: Selection,
    *,
    seen: list[str] | None,
) -> tuple[Any, ...]:
    records = workspace.reader().trials(study.name)
    info = pareto_info(study, records)
    winner = winner_of(study, records)
    pareto = pareto_figure(info, selected=selection.trial).update_layout(uirevision=study.name)
    is_redrawn = seen is not None and seen[0] == study.name
    history = hypervolume_info(study, records)
    outside = num_outside(info)
    return (
        card("Studies", study_list(studies, selected=study.name)),
        False,
        study_facts(study),
        _new_points(pareto) if is_redrawn else pareto,
        f"{outside} far outside of the first view: double-click it to see all." if outside else "",
        front_table(study, info, records, winner=winner.number if winner else None, selected=selection.trial),
        hypervolume_figure(history) if history else EMPTY_FIGURE,
    )


def _new_points(figure: go.Figure) -> Patch:
    """The figure's points in place of those on the page, whose layout stays: it holds the reader's zoom.

    Plotly's `uirevision` alone does not keep it, because Dash draws the figure anew after a zoom.
    """
    drawn = figure.to_plotly_json()
    patch = Patch()
    patch["data"] = drawn["data"]
    for axis in ("xaxis", "yaxis"):
        patch["layout"][axis]["autorangeoptions"] = drawn["layout"][axis].get("autorangeoptions", {})
    return patch


def _trial_outputs(workspace: Workspace, selection: Selection, number: int, seen: str | None) -> tuple[Any, str]:
    reader = workspace.reader()
    name = selection.study_name or next(study.name for study in reader.studies())
    record = reader.trial(name, number)
    num_artifacts = len(reader.artifacts(name, number))
    stamp = f"{name} {number} {record.state} {num_artifacts}"
    if stamp == seen:
        raise PreventUpdate
    return trial_card(workspace, reader.study(name), record), stamp


def _without_study(children: Component, seen: list[str] | None, *, state: str) -> tuple[Any, ...]:
    """What the page shows while no study can be: the reason, once."""
    if seen == ["", state]:
        return (_status(), *[no_update] * 8)
    return (_status(), children, True, *[no_update] * 5, ["", state])


def _chosen(studies: Sequence[StudySummary], selection: Selection) -> StudySummary | None:
    if selection.study_name is None:
        return studies[0]
    return next((study for study in studies if study.name == selection.study_name), None)


def _stamp(studies: Sequence[StudySummary]) -> str:
    """Changes whenever a trial begins or ends, or a study is made."""
    return " ".join(f"{sum(study.num_trials_by_state.values())}@{study.updated_at.isoformat()}" for study in studies)


def _clicked_trial(click: dict[str, Any] | None) -> int | None:
    """The trial of a clicked point; None for anything a browser may send in its place."""
    match click:
        case {"points": [{"customdata": int(number)}, *_]}:
            return number
        case _:
            return None


def _status() -> str:
    return f"read {datetime.datetime.now(datetime.UTC):%H:%M:%S} UTC"
