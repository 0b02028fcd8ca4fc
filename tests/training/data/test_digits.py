"""The digits keep the data sets' contract, and each real picture stays on its side."""

import pytest

from tests.training.data.contract import CaptionedImagesContract
from training.data.base import CaptionedImages
from training.data.digits import DIGIT_WORDS, Digits


class TestDigits(CaptionedImagesContract):
    @pytest.fixture
    def data(self) -> CaptionedImages:
        return Digits()

    @pytest.fixture
    def same_data(self) -> CaptionedImages:
        return Digits()

    @pytest.fixture
    def smaller_data(self) -> CaptionedImages:
        return Digits(image_size=16)


def test_every_real_picture_is_on_exactly_one_side() -> None:
    data = Digits()
    assert len(data.train_images) == 1438
    assert len(data.held_out_images) == 359
    train = {image.numpy().tobytes() for image in data.train_images}
    assert not train & {image.numpy().tobytes() for image in data.held_out_images}


def test_both_sides_hold_every_digit_about_equally_often() -> None:
    data = Digits()
    assert all(115 < count < 170 for count in data.train_labels.bincount().tolist())
    assert all(25 < count < 50 for count in data.held_out_labels.bincount().tolist())


def test_captions_name_the_digit_shown() -> None:
    data = Digits()
    captions = data.held_out_batch(0, 359).captions
    assert captions == tuple(f"a handwritten {DIGIT_WORDS[label]}" for label in data.held_out_labels.tolist())


def test_prompts_ask_for_each_digit_once() -> None:
    assert Digits().prompts() == tuple(f"a handwritten {word}" for word in DIGIT_WORDS)
