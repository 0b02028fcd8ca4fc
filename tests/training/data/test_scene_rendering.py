"""Drawn objects have the area, place and colour their scene says, at any resolution."""

import pytest
import torch

from training.data.scene import BACKGROUND, PALETTE, SHAPES, Scene, SceneObject
from training.data.scene_rendering import UNIT_AREAS, object_coverage, render_scenes


def _object(shape: str, *, radius: float = 0.3, colour: str = "red") -> SceneObject:
    return SceneObject(shape=shape, colour=colour, x=0.45, y=0.52, radius=radius)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("image_size", [32, 128])
def test_covered_area_and_centre_of_mass_are_exact(shape: str, image_size: int) -> None:
    coverage = object_coverage([_object(shape)], image_size)[0]
    pixel = (torch.arange(image_size) + 0.5) / image_size
    area = coverage.sum()
    assert area.item() / image_size**2 == pytest.approx(UNIT_AREAS[shape] * 0.3**2, rel=0.02)
    assert ((coverage.sum(dim=0) * pixel).sum() / area).item() == pytest.approx(0.45, abs=0.005)
    assert ((coverage.sum(dim=1) * pixel).sum() / area).item() == pytest.approx(0.52, abs=0.005)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_small_picture_is_the_large_one_averaged(shape: str) -> None:
    small = object_coverage([_object(shape)], 32)
    large = torch.nn.functional.avg_pool2d(object_coverage([_object(shape)], 512), 16)
    assert (small - large).abs().max() < 0.3  # at a corner, where a straight edge is only an approximation
    assert (small - large).abs().mean() < 0.004


@pytest.mark.parametrize("colour", PALETTE)
def test_inside_is_the_colour_and_outside_the_background(colour: str) -> None:
    image = render_scenes([Scene(objects=(_object("square", colour=colour),))], 32)[0]
    assert image[:, 16, 14].tolist() == pytest.approx([2 * value - 1 for value in PALETTE[colour]], abs=1e-5)
    assert image[:, 0, 0].tolist() == pytest.approx([2 * value - 1 for value in BACKGROUND], abs=1e-5)


def test_a_scene_looks_the_same_alone_and_in_a_batch() -> None:
    scenes = [Scene(objects=(_object(shape),)) for shape in SHAPES]
    batch = render_scenes(scenes, 32)
    assert all(torch.equal(render_scenes([scene], 32)[0], image) for scene, image in zip(scenes, batch, strict=True))
