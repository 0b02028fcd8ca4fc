"""The report is one file that needs nothing else and trusts nothing that the database says."""

import base64
import re
import subprocess
import sys
from pathlib import Path

import pytest

from search_space.errors import StorageError, UsageError
from studies.report import Options, write_report
from studies.results import StudyReader
from tests.studies.sample_study import STUDY, SampleStudy


def _report(study: SampleStudy, tmp_path: Path) -> str:
    out = tmp_path / "reports" / "report.html"
    write_report(Options(storage=study.url, study=STUDY, out=out, workspace=study.folder))
    return out.read_text(encoding="utf-8")


def _without_plotly(page: str) -> str:
    """The page without the one large script."""
    return re.sub(r"<script>/\*\*.*?</script>", "", page, count=1, flags=re.DOTALL)


def test_report_shows_front_winner_and_pictures(filled_study: SampleStudy, tmp_path: Path) -> None:
    page = _without_plotly(_report(filled_study, tmp_path))
    winner = StudyReader(filled_study.engine).study(STUDY).best
    assert winner is not None
    assert f"Winner: trial {winner.number}, architecture {winner.arch_id}" in page
    picture = (filled_study.folder / "trials" / str(winner.number) / "samples.png").read_bytes()
    assert base64.b64encode(picture).decode() in page
    assert page.count("Plotly.newPlot") == 3
    assert "latency is an estimate, never measured" in page


def test_report_shows_what_the_full_training_gave(filled_study: SampleStudy, tmp_path: Path) -> None:
    winner = StudyReader(filled_study.engine).study(STUDY).best
    assert winner is not None
    assert "full training" not in _without_plotly(_report(filled_study, tmp_path))
    filled_study.add_training(winner.number)
    page = _without_plotly(_report(filled_study, tmp_path))
    scores = re.findall(r"<dt>(overall|velocity error|counting)</dt><dd>([0-9.]+)</dd>", page)
    assert scores == [("overall", "0.75"), ("velocity error", "0.0625"), ("counting", "0.25")]
    for kind in ("after its full training", "as the search saw it"):
        assert page.count(f"<figcaption>Trial {winner.number} {kind}") == 1


def test_report_loads_nothing(filled_study: SampleStudy, tmp_path: Path) -> None:
    page = _report(filled_study, tmp_path)
    assert "default-src 'none'" in page
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", _without_plotly(page))
    assert page.count("plotly.js v") == 1


def test_text_from_the_database_is_escaped(filled_study: SampleStudy, tmp_path: Path) -> None:
    page = _without_plotly(_report(filled_study, tmp_path))
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_a_study_without_trials_has_a_report(empty_study: SampleStudy, tmp_path: Path) -> None:
    assert "No trial has both a latency and a score yet" in _report(empty_study, tmp_path)


def test_a_file_that_is_no_picture_is_left_out(filled_study: SampleStudy, tmp_path: Path) -> None:
    winner = StudyReader(filled_study.engine).study(STUDY).best
    assert winner is not None
    path = filled_study.add_picture(winner.number)
    path.write_text("<svg onload=alert(1)>")
    filled_study.writer.add_artifact(winner.number, "samples", path, workspace=filled_study.folder)
    page = _without_plotly(_report(filled_study, tmp_path))
    assert "Its samples" not in page


def test_unknown_study_and_storage_are_explained(filled_study: SampleStudy, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nonsense[\s\S]*tiny_exact"):
        write_report(Options(storage=filled_study.url, study="nonsense", out=tmp_path / "r.html"))
    with pytest.raises(StorageError, match="there is no database"):
        write_report(Options(storage=f"sqlite:///{tmp_path}/none.db", out=tmp_path / "r.html"))


def test_the_command_prints_the_path_of_the_file(filled_study: SampleStudy, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    arguments = ["--storage", filled_study.url, "--workspace", str(filled_study.folder), "--out", str(out)]
    command = [sys.executable, "-m", "studies.report", *arguments]
    completed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert completed.stdout.strip() == str(out)
    assert out.stat().st_size < 8e6
