"""Every data set's samples get finite scores, and better pictures get better ones."""

import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from training.data.digits import Digits
from training.data.folder import FolderImages
from training.data.scene_prompts import SKILLS
from training.data.scenes import Scenes
from training.metrics.samples import score_samples


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests, so that the digit classifier is trained once."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("make_data", [Scenes, Digits])
def test_real_pictures_score_nearly_one_and_broken_ones_stay_finite(
    make_data: type[Scenes] | type[Digits], cache_dir: Path
) -> None:
    data = make_data()
    batch = data.held_out_batch(0, 96)
    scores = score_samples(data, batch.images, batch.captions, cache_dir=cache_dir)
    assert 0.95 <= scores["overall"] <= 1
    assert scores["num_samples"] == 96
    for broken in (math.nan, math.inf, 1e9):
        worse = score_samples(data, torch.full_like(batch.images, broken), batch.captions, cache_dir=cache_dir)
        assert worse["overall"] < 0.2
        assert all(math.isfinite(score) for score in worse.values())


def test_scenes_are_scored_by_skill(cache_dir: Path) -> None:
    batch = Scenes().held_out_batch(0, 12)
    scores = score_samples(Scenes(), batch.images, batch.captions, cache_dir=cache_dir)
    assert set(scores) == {"overall", "num_samples", *SKILLS}


def test_digits_are_scored_by_accuracy_and_distance(cache_dir: Path) -> None:
    batch = Digits().held_out_batch(0, 10)
    scores = score_samples(Digits(), batch.images, batch.captions, cache_dir=cache_dir)
    assert set(scores) == {"overall", "num_samples", "frechet_distance"}


def test_a_folder_has_no_judge(tmp_path: Path) -> None:
    for number in range(2):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text("dark")
    data = FolderImages(tmp_path)
    assert score_samples(data, torch.zeros(1, 3, 32, 32), data.prompts(), cache_dir=tmp_path) == {}
