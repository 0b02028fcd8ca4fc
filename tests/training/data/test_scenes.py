"""The scenes keep the data sets' contract, and their pictures never show what is held out."""

import pytest

from tests.training.data.contract import CaptionedImagesContract
from training.data.base import CaptionedImages
from training.data.scene_prompts import SKILLS, parse_prompt, prompt_split
from training.data.scenes import Scenes


class TestScenes(CaptionedImagesContract):
    @pytest.fixture
    def data(self) -> CaptionedImages:
        return Scenes()

    @pytest.fixture
    def same_data(self) -> CaptionedImages:
        return Scenes()

    @pytest.fixture
    def smaller_data(self) -> CaptionedImages:
        return Scenes(image_size=16)


def test_training_captions_share_no_composition_with_held_out_prompts() -> None:
    held_out = {parse_prompt(prompt).composition for prompt in Scenes().prompts()}
    trained = {
        parse_prompt(caption).composition
        for step in range(40)
        for caption in Scenes().train_batch(step, 50, seed=0).captions
    }
    assert not held_out & trained


def test_every_skill_is_trained_and_the_hard_ones_most() -> None:
    captions = Scenes().train_batch(0, 3000, seed=0).captions
    skills = [parse_prompt(caption).skill for caption in captions]
    assert all(200 < skills.count(skill) < 900 for skill in SKILLS)
    assert min(skills.count("position"), skills.count("color_attribution")) > 2 * skills.count("single_object")


def test_held_out_batches_walk_through_all_prompts_in_order() -> None:
    data = Scenes()
    assert data.held_out_batch(0, 96).captions == data.prompts()
    assert data.held_out_batch(1, 96).captions == data.prompts()
    assert not data.held_out_batch(0, 96).images.equal(data.held_out_batch(1, 96).images)


def test_name_says_scenes() -> None:
    assert Scenes().name == "scenes"
    assert set(prompt_split().training) == set(SKILLS)
