"""A page shows the scores that a training left, and nothing that only claims to be them."""

from pathlib import Path

import pytest

from studies.results import StudyReader
from studies.trained_artifacts import trained_scores
from tests.studies.sample_study import STUDY, SampleStudy


def _scores(study: SampleStudy, number: int) -> dict[str, float]:
    return dict(trained_scores(study.folder, StudyReader(study.engine).artifacts(STUDY, number)))


def _path(study: SampleStudy, number: int) -> Path:
    return study.folder / "trials" / str(number) / "scores.json"


def test_scores_are_read_back(empty_study: SampleStudy) -> None:
    empty_study.add_training(0)
    assert _scores(empty_study, 0) == {"counting": 0.25, "overall": 0.75, "velocity_error": 0.0625}
    assert _scores(empty_study, 1) == {}


def test_a_changed_or_missing_file_has_no_scores(empty_study: SampleStudy) -> None:
    empty_study.add_training(0)
    _path(empty_study, 0).write_text('{"overall": 1.0}')
    assert _scores(empty_study, 0) == {}
    _path(empty_study, 0).unlink()
    assert _scores(empty_study, 0) == {}


@pytest.mark.parametrize("content", ["", "[1]", '{"overall": "<b>"}', '{"overall": NaN}', '{"overall": {}}'])
def test_what_is_no_table_of_numbers_is_left_out(empty_study: SampleStudy, content: str) -> None:
    empty_study.add_training(0)
    _path(empty_study, 0).write_text(content)
    empty_study.writer.add_artifact(0, "scores", _path(empty_study, 0), workspace=empty_study.folder)
    assert _scores(empty_study, 0) == {}
