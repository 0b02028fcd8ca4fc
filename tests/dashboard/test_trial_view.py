"""A clicked trial shows what the search drew with it and, once it is trained, what that gave."""

import pytest

from dashboard.trial_view import trial_card
from dashboard.workspace import Workspace
from studies.results import StudyReader
from tests.studies.sample_study import STUDY, SampleStudy, sample_arch


@pytest.fixture
def complete(filled_study: SampleStudy) -> int:
    """Number of a trial with samples of the search."""
    return next(one.number for one in StudyReader(filled_study.engine).trials(STUDY) if one.state == "complete")


def _card(workspace: Workspace, number: int) -> str:
    reader = workspace.reader()
    return str(trial_card(workspace, reader.study(STUDY), reader.trial(STUDY, number)).to_plotly_json())


def test_a_trial_shows_its_samples_and_then_its_training(
    workspace: Workspace, filled_study: SampleStudy, complete: int
) -> None:
    before = _card(workspace, complete)
    assert f"Trial {complete} as the search saw it" in before
    assert "full training" not in before
    filled_study.add_training(complete)
    after = _card(workspace, complete)
    assert f"Trial {complete} as the search saw it" in after
    assert f"Trial {complete} after its full training" in after
    assert "Dt('overall'), Dd('0.75')" in after


def test_a_repeated_trial_shows_the_pictures_of_the_first(
    workspace: Workspace, filled_study: SampleStudy, complete: int
) -> None:
    number = 1 + max(one.number for one in StudyReader(filled_study.engine).trials(STUDY))
    filled_study.writer.start_trial(number, sample_arch(complete), estimate=None, violation=None, seed=0)
    filled_study.writer.copy_trial(number, original=complete)
    assert f"trial={complete}" in _card(workspace, number)


def test_a_full_training_changes_the_study_and_so_wakes_the_page(
    workspace: Workspace, filled_study: SampleStudy, complete: int
) -> None:
    before = workspace.reader().study(STUDY).updated_at
    filled_study.add_training(complete)
    assert workspace.reader().study(STUDY).updated_at > before
