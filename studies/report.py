"""`python -m studies.report`: one study as one HTML file that opens anywhere, without a network or a server.

Everything is inside the file: Plotly's code once, pictures as data, and a policy that forbids the page to load.
Names, messages and paths come out of a database that nobody vouches for, so all text is escaped.
"""

import html
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from search_space.command_line import run
from search_space.errors import NoFeasibleTrialError, SnapNASError, UsageError

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from sqlalchemy import Engine

    from studies.results import StudyReader, StudySummary, TrialRecord

_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
_MAX_FAILURES_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Options:
    """Writes one study as one offline HTML file: Pareto front, winner, latency breakdown, samples, device."""

    storage: str | None = None
    """Database URL: sqlite:///file.db or postgresql://user:password@host/database; a file in --workspace by default."""
    study: str | None = None
    """The study; the newest one by default."""
    out: Path = Path("report.html")
    """The file to write."""
    workspace: Path = Path("workspace")
    """Folder of the study's pictures: what --out was for studies.run."""


def write_report(options: Options) -> None:
    """Writes the file and prints its path."""
    from profilers.storage import open_engine
    from studies.selection import select_study, storage_url

    engine = open_engine(storage_url(options.storage, options.workspace), read_only=True)
    study = select_study(engine, options.study)
    content = report_html(engine, study, workspace=options.workspace)
    partial = options.out.with_name(f"{options.out.name}.part")
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(content, encoding="utf-8")
        os.replace(partial, options.out)
    except OSError as error:
        raise UsageError(f"{options.out} cannot be written: {error.strerror}", fix="give another --out") from error
    print(options.out)


def report_html(engine: "Engine", study: "StudySummary", *, workspace: Path) -> str:
    """The whole page, some five megabytes, nearly all of it Plotly."""
    from plotly.offline import get_plotlyjs

    from studies.results import StudyReader

    reader = StudyReader(engine)
    records = reader.trials(study.name)
    winner = winner_of(study, records)
    title = f"SnapNAS: {study.name}"
    theme = resources.files("studies").joinpath("theme.css").read_text(encoding="utf-8")
    sections = [
        _summary_section(study),
        _front_section(study, records, winner),
        *(_winner_sections(reader, engine, study, winner, workspace) if winner else ()),
        _history_section(study, records),
        _device_section(engine, study),
        _failures_section(records),
    ]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{theme} main {{ max-width: 1060px; margin: 0 auto; padding: 32px 20px; }} h1 {{ margin-bottom: 18px; }}</style>
<script>{get_plotlyjs()}</script>
</head>
<body>
<main>
<h1>{html.escape(title)}</h1>
{"".join(sections)}
</main>
</body>
</html>
"""


def winner_of(study: "StudySummary", records: Sequence["TrialRecord"]) -> "TrialRecord | None":
    """The trial that `studies.run` would train; None while no trial keeps the budget."""
    from studies.winner import choose_winner

    try:
        return choose_winner(records, latency_budget_ms=study.latency_budget_ms)
    except NoFeasibleTrialError:
        return None


def _summary_section(study: "StudySummary") -> str:
    counts = study.num_trials_by_state
    trials = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    budget = "none" if study.latency_budget_ms is None else f"{study.latency_budget_ms:.4g} ms"
    facts = [
        ("recipe", str(study.config.get("recipe", "unknown"))),
        ("space", str(study.config.get("space", "unknown"))),
        ("data", str(study.config.get("data", "unknown"))),
        ("trials", f"{sum(counts.values())}: {trials}"),
        ("objectives", ", ".join(f"{one.direction} {one.name}" for one in study.objectives)),
        ("latency budget", budget),
        ("started", f"{study.created_at:%Y-%m-%d %H:%M} UTC"),
        ("last change", f"{study.updated_at:%Y-%m-%d %H:%M} UTC"),
    ]
    return _card("Study", _caveat_badge(study) + _facts(facts))


def _front_section(study: "StudySummary", records: Sequence["TrialRecord"], winner: "TrialRecord | None") -> str:
    from studies.figure_info import pareto_info
    from studies.figures import num_outside, pareto_figure

    info = pareto_info(study, records)
    if not info.points:
        return _card("Pareto front", "<p>No trial has both a latency and a score yet.</p>")
    by_number = {record.number: record for record in records}
    winner_number = winner.number if winner else None
    rows = [
        (
            f"{point.number}{' (winner)' if point.number == winner_number else ''}",
            by_number[point.number].arch_id or "",
            f"{point.latency_ms:.4g}",
            f"{point.score:.5g}",
        )
        for point in info.group("front")
    ]
    outside = num_outside(info)
    note = f"<p class='muted'>{outside} far outside of this view: double-click it to see all.</p>" if outside else ""
    headers = ("trial", "architecture", f"latency ({study.latency_unit})", info.score_name)
    return _card("Pareto front", _figure(pareto_figure(info, selected=winner_number)) + note + _table(headers, rows))


def _winner_sections(
    reader: "StudyReader", engine: "Engine", study: "StudySummary", winner: "TrialRecord", workspace: Path
) -> Iterable[str]:
    from studies.arch_table import COLUMNS, arch_table
    from studies.figures import breakdown_figure
    from studies.pictures import data_uri, picture_artifacts, picture_caption, read_picture
    from studies.provenance import arch_breakdown, table_change
    from studies.trained_artifacts import score_facts, trained_scores

    assert winner.arch_id is not None  # only a lost trial has none
    arch = reader.arch(winner.arch_id)
    table = arch_table(arch)
    values = [(name.replace("_", " "), f"{value:.5g}") for name, value in winner.values.items()]
    yield _card(
        f"Winner: trial {winner.number}, architecture {winner.arch_id}",
        _facts([*values, *table.facts])
        + "<h3>Architecture</h3>"
        + _table(COLUMNS, table.rows)
        + f"<details><summary>JSON</summary><pre>{html.escape(arch.to_json(indent=2))}</pre></details>",
    )
    try:
        breakdown = _warning(table_change(engine, study))
        breakdown += _figure(breakdown_figure(arch_breakdown(engine, study, arch)))
    except SnapNASError as error:
        breakdown = _warning(str(error))
    yield _card("Where its milliseconds go", breakdown)
    artifacts = reader.artifacts(study.name, winner.number)
    scores = trained_scores(workspace, artifacts)
    if scores:
        yield _card("Its scores after full training", _facts(score_facts(scores)))
    pictures = [
        f"<figure><img src='{data_uri(content)}' alt='{html.escape(artifact.kind)} of trial {winner.number}'>"
        f"<figcaption>{html.escape(picture_caption(artifact))}</figcaption></figure>"
        for artifact in picture_artifacts(artifacts)
        if (content := read_picture(workspace, artifact)) is not None
    ]
    if pictures:
        yield _card("Its samples", f"<div class='pictures'>{''.join(pictures)}</div>")


def _history_section(study: "StudySummary", records: Sequence["TrialRecord"]) -> str:
    from studies.figure_info import hypervolume_info
    from studies.figures import hypervolume_figure

    info = hypervolume_info(study, records)
    return "" if info is None else _card("Progress of the search", _figure(hypervolume_figure(info)))


def _device_section(engine: "Engine", study: "StudySummary") -> str:
    from studies.provenance import device_facts, table_change

    try:
        return _card("Device", _warning(table_change(engine, study)) + _facts(device_facts(engine, study)))
    except SnapNASError as error:
        return _card("Device", _warning(str(error)))


def _failures_section(records: Sequence["TrialRecord"]) -> str:
    failures = [(record.number, record.failure) for record in records if record.failure is not None]
    if not failures:
        return ""
    rows = [(str(number), failure.type, failure.message) for number, failure in failures[:_MAX_FAILURES_SHOWN]]
    return _card(f"Trials without a result: {len(failures)}", _table(("trial", "reason", "message"), rows))


def _caveat_badge(study: "StudySummary") -> str:
    from studies.results import CAVEAT_SENTENCES

    if not study.latency_caveat:
        return ""
    return f"<span class='badge estimate'>{CAVEAT_SENTENCES[study.latency_caveat]}</span>"


def _figure(figure: "go.Figure") -> str:
    from studies.figures import FIGURE_CONFIG

    return str(figure.to_html(full_html=False, include_plotlyjs=False, config=FIGURE_CONFIG))


def _card(title: str, content: str) -> str:
    return f"<section class='card'><h2>{html.escape(title)}</h2>{content}</section>"


def _warning(text: str) -> str:
    return f"<p class='warning'>{html.escape(text)}</p>" if text else ""


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    items = (f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>" for name, value in facts)
    return f"<dl class='facts'>{''.join(items)}</dl>"


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(header)}</th>" for header in headers)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


if __name__ == "__main__":
    run(write_report, Options, prog="studies.report")
