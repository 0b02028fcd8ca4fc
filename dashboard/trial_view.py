"""One trial on the page: its values, architecture, latency breakdown, samples, and how to take it away."""

import shlex
from collections.abc import Sequence

from dash import html
from dash.development.base_component import Component

from dashboard import ids
from dashboard.components import badge, card, code, facts, graph, hidden_text, table, warning
from dashboard.downloads import arch_url, picture_url
from dashboard.workspace import Selection, Workspace
from profilers.storage import display_url
from search_space.arch import ArchConfig
from search_space.counts import count
from search_space.errors import SnapNASError
from studies.arch_table import COLUMNS, arch_table
from studies.figures import breakdown_figure
from studies.pictures import picture_artifacts, picture_caption
from studies.provenance import arch_breakdown, device_facts, table_change
from studies.results import Artifact, StudySummary, TrialRecord
from studies.selection import storage_url
from studies.trained_artifacts import score_facts, trained_scores


def invitation() -> Component:
    """What stands where a trial would be."""
    return card("No trial chosen", html.P("Click a point, or a trial of the table.", className="muted"))


def trial_card(workspace: Workspace, study: StudySummary, record: TrialRecord) -> Component:
    """Everything about one trial."""
    children: list[Component] = [html.P(_badges(record))]
    if record.failure is not None:
        children += [warning(f"{record.failure.type}: {record.failure.message}")]
        children += [hidden_text("end of its log", record.failure.log)] if record.failure.log else []
    if record.arch_id is None:
        return card(f"Trial {record.number}", *children)
    arch = workspace.reader().arch(record.arch_id)
    description = arch_table(arch)
    original = record.number if record.duplicate_of is None else record.duplicate_of
    artifacts = workspace.reader().artifacts(study.name, original)
    children += [
        facts(_values(study, record, arch)),
        html.H3("Architecture"),
        table(COLUMNS, description.rows),
        facts(description.facts),
        hidden_text("JSON", arch.to_json(indent=2)),
        html.H3("Where its milliseconds go"),
        *_breakdown(workspace, study, record, arch),
        *_scores(workspace, artifacts),
        *_pictures(workspace, artifacts),
        html.H3("Take it away"),
        html.A("Export architecture", id=ids.EXPORT, href=arch_url(arch.arch_id), className="button", download=""),
        html.P("Train it fully, then export the model; studies.train --arch takes the file above:", className="muted"),
        code(_commands(workspace, record)),
    ]
    return card(f"Trial {record.number}", *children)


def _badges(record: TrialRecord) -> list[Component]:
    badges = [badge(record.state, "estimate" if record.state in ("failed", "infeasible") else "")]
    if record.duplicate_of is not None:
        badges.append(badge(f"same architecture as trial {record.duplicate_of}"))
    if record.duration_s is not None:
        badges.append(badge(f"{record.duration_s:.1f} s on {record.host}"))
    return badges


def _values(study: StudySummary, record: TrialRecord, arch: ArchConfig) -> list[tuple[str, str]]:
    counts = count(arch)
    pairs = [("architecture", arch.arch_id)]
    if record.latency_ms is not None:
        interval = ""
        if record.latency_low_ms is not None and record.latency_high_ms is not None:
            interval = f" ({record.latency_low_ms:.4g} to {record.latency_high_ms:.4g})"
        word = study.latency_caveat or "sum of measured blocks"
        pairs.append((f"latency, {word}", f"{record.latency_ms:.4g} ms{interval}"))
    pairs += [
        (objective.name.replace("_", " "), f"{record.values[objective.name]:.5g}")
        for objective in study.objectives[1:]
        if objective.name in record.values
    ]
    return [*pairs, ("parameters", f"{counts.num_params / 1e6:.4g} M"), ("macs", f"{counts.macs / 1e9:.4g} G")]


def _breakdown(workspace: Workspace, study: StudySummary, record: TrialRecord, arch: ArchConfig) -> list[Component]:
    try:
        info = arch_breakdown(workspace.engine(), study, arch)
        device = device_facts(workspace.engine(), study)
        change = table_change(workspace.engine(), study)
    except SnapNASError as error:
        return [warning(str(error))]
    label = f"latency of each block of trial {record.number}; they sum to {info.latency_ms:.4g} ms"
    provenance = html.Details([html.Summary("measured on"), facts(device)])
    return [*([warning(change)] if change else []), graph(ids.BREAKDOWN, label, breakdown_figure(info)), provenance]


def _scores(workspace: Workspace, artifacts: Sequence[Artifact]) -> list[Component]:
    scores = trained_scores(workspace.folder, artifacts)
    return [html.H3("Scores after full training"), facts(score_facts(scores))] if scores else []


def _pictures(workspace: Workspace, artifacts: Sequence[Artifact]) -> list[Component]:
    pictures = [
        html.Figure(
            [
                html.Img(
                    src=picture_url(Selection(study_name=artifact.study_name, trial=artifact.number), artifact.sha256),
                    alt=f"{artifact.kind} of trial {artifact.number}: not in {workspace.folder} any more",
                ),
                html.Figcaption(picture_caption(artifact)),
            ]
        )
        for artifact in picture_artifacts(artifacts)
    ]
    return [html.H3("Samples"), html.Div(pictures, className="pictures")] if pictures else []


def _commands(workspace: Workspace, record: TrialRecord) -> str:
    """Ready to paste; a database's password stays out of it."""
    place = ["--study", record.study_name, "--out", str(workspace.folder)]
    if workspace.storage != storage_url(None, workspace.folder):
        place += ["--storage", display_url(workspace.storage)]
    train = ["python", "-m", "studies.train", str(record.number), *place]
    export = ["python", "-m", "studies.export", str(record.number), *place]
    return f"{shlex.join(train)}\n{shlex.join(export)}"
