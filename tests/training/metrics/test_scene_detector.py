"""The detector knows true scenes from false ones, also when they are blurred or noisy."""

import random

import pytest
import torch
from torch import Tensor

from search_space.errors import UsageError
from training.data.scene import BACKGROUND, PALETTE, SHAPES, Scene, SceneObject
from training.data.scene_prompts import SKILLS
from training.data.scene_rendering import render_scenes
from training.data.scenes import Scenes
from training.metrics.scene_detector import detect_objects, score_scenes


@pytest.fixture(scope="module")
def renders() -> tuple[Tensor, tuple[str, ...]]:
    """2,160 true scenes, training and held-out prompts half and half."""
    batches = (Scenes().train_batch(0, 1080, seed=7), Scenes().held_out_batch(0, 1080))
    return torch.cat([batch.images for batch in batches]), batches[0].captions + batches[1].captions


def _blurred(images: Tensor, deviation_px: float) -> Tensor:
    offsets = torch.arange(-3.0, 4.0)
    kernel = torch.exp(-offsets.square() / (2 * deviation_px**2))
    kernel = (kernel[:, None] * kernel / kernel.sum() ** 2).expand(3, 1, 7, 7)
    padded = torch.nn.functional.pad(images, (3, 3, 3, 3), mode="replicate")
    return torch.nn.functional.conv2d(padded, kernel, groups=3)


def _noisy(images: Tensor, deviation: float) -> Tensor:
    return images + deviation * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))


def _picture(*objects: SceneObject) -> Tensor:
    return render_scenes([Scene(objects=objects)], 32)


def _object(shape: str, colour: str, x: float = 0.3, y: float = 0.3, radius: float = 0.18) -> SceneObject:
    return SceneObject(shape=shape, colour=colour, x=x, y=y, radius=radius)


def test_at_least_99_percent_of_true_scenes_are_right_in_every_skill(renders: tuple[Tensor, tuple[str, ...]]) -> None:
    scores = score_scenes(*renders)
    assert set(scores.accuracy_by_skill) == set(SKILLS)
    assert min(scores.accuracy_by_skill.values()) >= 0.99
    assert scores.overall >= 0.99
    assert all(bool(image.reason) != image.is_correct for image in scores.images)


def test_at_most_15_percent_are_right_for_another_random_prompt(renders: tuple[Tensor, tuple[str, ...]]) -> None:
    images, prompts = renders[0][::2], renders[1][::2]
    others = list(prompts)
    random.Random(0).shuffle(others)
    chance = score_scenes(images, others).overall
    print(f"true scenes judged by another random prompt: {chance:.3f}")
    assert chance <= 0.15


@pytest.mark.parametrize(("blur_px", "noise"), [(0.0, 0.05), (0.5, 0.05), (0.7, 0.05), (0.0, 0.15)])
def test_at_least_95_percent_survive_blur_and_noise(
    renders: tuple[Tensor, tuple[str, ...]], blur_px: float, noise: float
) -> None:
    images, prompts = renders[0][::3], renders[1][::3]
    scores = score_scenes(_noisy(_blurred(images, blur_px) if blur_px else images, noise), prompts)
    assert min(scores.accuracy_by_skill.values()) >= 0.95


def test_washed_out_colours_are_still_those_colours(renders: tuple[Tensor, tuple[str, ...]]) -> None:
    background = 2 * torch.tensor(BACKGROUND).view(3, 1, 1) - 1
    washed_out = background + 0.75 * (renders[0][::6] - background)
    assert score_scenes(washed_out, renders[1][::6]).overall >= 0.95


@pytest.mark.parametrize("image_size", [32, 64])
def test_detected_objects_are_those_of_the_scene(image_size: int) -> None:
    placed = [
        _object(shape, colour, x=0.25 + 0.5 * (index % 2), y=0.4 + 0.1 * (index % 3))
        for index, (shape, colour) in enumerate((shape, colour) for shape in SHAPES for colour in PALETTE)
    ]
    images = render_scenes([Scene(objects=(each,)) for each in placed], image_size)
    for expected, (found,) in zip(placed, detect_objects(images), strict=True):
        assert (found.shape, found.colour) == (expected.shape, expected.colour)
        assert (found.x, found.y) == pytest.approx((expected.x, expected.y), abs=0.01)
        assert 0.2 < found.width < 0.4


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("a red circle", ""),
        ("a picture of a circle", ""),
        ("a blue circle", "expected the colours blue circle, found red circle"),
        ("a red square", "expected the shapes square, found red circle"),
        ("two red circles", "expected 2 objects, found 1: red circle"),
        ("a circle and a square", "expected 2 objects, found 1: red circle"),
    ],
)
def test_one_red_circle_is_what_it_is(prompt: str, reason: str) -> None:
    (verdict,) = score_scenes(_picture(_object("circle", "red")), [prompt]).images
    assert verdict.reason == reason
    assert verdict.is_correct == (not reason)


@pytest.mark.parametrize(
    ("prompt", "is_correct"),
    [
        ("a circle and a square", True),
        ("a square with a circle", True),
        ("a red circle and a blue square", True),
        ("a blue square and a red circle", True),
        ("a blue circle and a red square", False),
        ("a circle left of a square", True),
        ("a square right of a circle", True),
        ("a circle right of a square", False),
        ("a circle above a square", False),
        ("a circle and a triangle", False),
        ("a circle", False),
    ],
)
def test_a_red_circle_left_of_a_blue_square_is_what_it_is(prompt: str, is_correct: bool) -> None:
    picture = _picture(_object("circle", "red", y=0.5), _object("square", "blue", x=0.7, y=0.55))
    assert score_scenes(picture, [prompt]).images[0].is_correct == is_correct


def test_counting_takes_neither_more_nor_less() -> None:
    places = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)]
    for count in (2, 3, 4):
        picture = _picture(*(_object("cross", "green", x, y, 0.15) for x, y in places[:count]))
        verdicts = [score_scenes(picture, [f"{word} green crosses"]).overall for word in ("two", "three", "four")]
        assert verdicts == [float(asked == count) for asked in (2, 3, 4)]


def test_specks_are_noise_and_empty_pictures_show_nothing() -> None:
    picture = _picture(_object("circle", "red"))
    picture[:, :, 28:30, 28:30] = -1
    assert score_scenes(picture, ["a red circle"]).overall == 1
    blank = _picture(_object("circle", "red"))[:, :, :1, :1].expand(1, 3, 32, 32)
    assert score_scenes(blank, ["a circle"]).images[0].reason == "expected 1 objects, found 0: nothing"


def test_a_shapeless_patch_is_no_shape() -> None:
    picture = _picture(_object("circle", "red"))
    picture[:, :, :, 2:5] = picture[:, :, 9:10, 9:10]  # a bar from top to bottom
    assert {found.shape for found in detect_objects(picture)[0]} == {None}


def test_touching_objects_of_two_colours_are_two() -> None:
    picture = _picture(_object("square", "red", x=0.3), _object("square", "blue", x=0.3 + 2 * 0.75 * 0.18))
    assert sorted(found.colour for found in detect_objects(picture)[0]) == ["blue", "red"]


def test_a_prompt_that_is_no_scene_is_refused() -> None:
    with pytest.raises(UsageError, match="a cat"):
        score_scenes(_picture(_object("circle", "red")), ["a cat"])
