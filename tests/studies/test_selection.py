"""A command finds the trial that is meant and the settings of its study, or says in three lines what there is."""

import dataclasses
from pathlib import Path

import pytest
from sqlalchemy import Engine

from profilers.backends.exact import ExactBackend
from profilers.storage import open_engine
from proxies.config import PROXY_CONFIGS
from search_space.errors import StorageError, UsageError
from studies.recipes import RECIPES, study_config
from studies.results import StudyReader, StudySummary
from studies.selection import open_existing, select_study, select_trial, stored_config
from studies.writer import StudyWriter
from tests.studies.small_study import STUDY, make_small_study
from tests.studies.small_training import small_arch, small_config


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return open_engine(make_small_study(tmp_path_factory.mktemp("workspace")), read_only=True)


def test_a_trial_is_found_by_number_and_a_duplicate_means_the_trial_it_repeats(engine: Engine) -> None:
    trial = select_trial(engine, None, number=1, is_best=False)
    assert (trial.study.name, trial.number, trial.arch) == (STUDY, 1, small_arch(24))
    assert select_trial(engine, None, number=None, is_best=True).number == 0  # of the MACs proxy more is better
    repeated = select_trial(engine, STUDY, number=2, is_best=False)
    assert (repeated.number, repeated.arch) == (0, small_arch())
    assert repeated.folder(Path("workspace")) == Path("workspace/studies/small/trial-0000")


@pytest.mark.parametrize(
    ("study", "number", "is_best", "message"),
    [
        (None, None, False, "no trial was named"),
        (None, 1, True, "both trial 1 and --best"),
        (None, 3, False, "study 'small' has no trial 3\nallowed: 0 to 2"),
        ("other", 1, False, "no study is called 'other'"),
    ],
)
def test_what_is_not_there_is_said_in_three_lines(
    engine: Engine, study: str | None, number: int | None, is_best: bool, message: str
) -> None:
    with pytest.raises(UsageError) as refusal:
        select_trial(engine, study, number=number, is_best=is_best)
    assert str(refusal.value).startswith(message)
    assert len(str(refusal.value).splitlines()) <= 3


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no database"):
        open_existing(f"sqlite:///{tmp_path}/snapnas.db")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_names_the_command_that_fills_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="python -m studies.run makes one"):
        select_study(open_engine(f"sqlite:///{tmp_path}/snapnas.db"), None)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_settings_of_every_recipe_come_back_equal(recipe: str, tmp_path: Path) -> None:
    config = study_config(recipe)
    assert stored_config(_stored(tmp_path, config.to_json())) == config


@pytest.mark.parametrize("name", PROXY_CONFIGS)
def test_every_proxy_comes_back_as_itself(name: str, tmp_path: Path) -> None:
    config = dataclasses.replace(small_config(), proxy=PROXY_CONFIGS[name])
    assert stored_config(_stored(tmp_path, config.to_json())) == config


def test_settings_of_another_version_are_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="settings of study 'one' cannot be read"):
        stored_config(_stored(tmp_path, '{"proxy_name": "macs", "proxy": {}}'))


def _stored(folder: Path, config: str) -> StudySummary:
    """The summary of a study with these settings."""
    engine = open_engine(f"sqlite:///{folder}/snapnas.db")
    StudyWriter(engine, "one").create_study(
        fingerprint={},
        config=config,
        objectives=small_config().objectives,
        device=ExactBackend().device,
        latency_budget_ms=None,
    )
    return StudyReader(engine).study("one")
