"""Draws scenes: signed distance functions in one torch call per shape, a few milliseconds for a batch.

The distance from a pixel's centre to an outline, in pixels, gives the share of the pixel that is covered
(half a pixel inside is full, half a pixel outside is none). That is antialiasing without supersampling.
"""

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from training.data.scene import BACKGROUND, PALETTE, Scene, SceneObject

# Outlines for radius 1, sized to look alike: the square's corner and the triangle's tip reach a little over 1.
_CIRCLE_RADIUS: Final = 0.86
_SQUARE_HALF_SIDE: Final = 0.75
_TRIANGLE_RADIUS: Final = 1.06
_CROSS_HALF_LENGTH: Final = 0.95
_CROSS_HALF_WIDTH: Final = 0.32

UNIT_AREAS: Final[dict[str, float]] = {
    "circle": math.pi * _CIRCLE_RADIUS**2,
    "square": 4 * _SQUARE_HALF_SIDE**2,
    "triangle": 3**1.5 / 4 * _TRIANGLE_RADIUS**2,
    "cross": 8 * _CROSS_HALF_LENGTH * _CROSS_HALF_WIDTH - 4 * _CROSS_HALF_WIDTH**2,
}
"""Area of every shape at radius 1; every shape's centre of mass is its centre."""


def render_scenes(scenes: Sequence[Scene], image_size: int) -> Tensor:
    """Pictures of scenes: `[N, 3, S, S]`, float32, in [-1, 1]."""
    objects = [placed for scene in scenes for placed in scene.objects]
    image_of_object = torch.tensor([index for index, scene in enumerate(scenes) for _ in scene.objects])  # [M]
    background = torch.tensor(BACKGROUND).view(1, 3, 1, 1)
    images = background.repeat(len(scenes), 1, image_size, image_size)  # [N, 3, S, S]
    colours = torch.tensor([PALETTE[placed.colour] for placed in objects]).view(-1, 3, 1, 1)  # [M, 3, 1, 1]
    coverage = object_coverage(objects, image_size)[:, None]  # [M, 1, S, S]
    # Objects do not overlap, so the shares of a pixel add up to at most one.
    images.index_add_(0, image_of_object, coverage * (colours - background))
    return images.clamp_(0, 1).mul_(2).sub_(1)


def object_coverage(objects: Sequence[SceneObject], image_size: int) -> Tensor:
    """The share of every pixel that each object covers: `[M, S, S]`, in [0, 1]."""
    geometry = torch.tensor([(placed.x, placed.y, placed.radius) for placed in objects])  # [M, 3]
    x_centre, y_centre, radius = geometry[:, :, None, None].unbind(1)  # [M, 1, 1] each
    pixel = (torch.arange(image_size) + 0.5) / image_size  # [S]
    right = (pixel.view(1, 1, -1) - x_centre) / radius  # [M, 1, S]
    down = (pixel.view(1, -1, 1) - y_centre) / radius  # [M, S, 1]
    coverage = torch.empty(len(objects), image_size, image_size)
    for shape in {placed.shape for placed in objects}:
        chosen = torch.tensor([placed.shape == shape for placed in objects])
        distance_px = _signed_distance(shape, right[chosen], down[chosen]) * radius[chosen] * image_size
        coverage[chosen] = (0.5 - distance_px).clamp_(0, 1)
    return coverage


def _signed_distance(shape: str, right: Tensor, down: Tensor) -> Tensor:
    """Distance to the outline of a shape of radius 1, negative inside; exact on the outline and near it."""
    match shape:
        case "circle":
            return torch.hypot(right, down) - _CIRCLE_RADIUS
        case "square":
            return _box_distance(right, down, _SQUARE_HALF_SIDE, _SQUARE_HALF_SIDE)
        case "triangle":
            # Three half-planes at half the circumscribed radius; the tip points up.
            slanted = right.abs() * (3**0.5 / 2) - down / 2
            return torch.maximum(slanted, down.expand_as(slanted)) - _TRIANGLE_RADIUS / 2
        case "cross":
            lying = _box_distance(right, down, _CROSS_HALF_LENGTH, _CROSS_HALF_WIDTH)
            standing = _box_distance(right, down, _CROSS_HALF_WIDTH, _CROSS_HALF_LENGTH)
            return torch.minimum(lying, standing)
        case _:
            raise AssertionError(f"no outline for the shape {shape!r}")


def _box_distance(right: Tensor, down: Tensor, half_width: float, half_height: float) -> Tensor:
    return torch.maximum(right.abs() - half_width, down.abs() - half_height)
