"""Places the objects of a prompt: a random scene that shows what the prompt says and nothing else.

Objects keep off the border and off each other, so that a picture of 32 pixels can be read without doubt. Positions
are drawn and rejected as bare numbers, because a training step waits for dozens of scenes.
"""

import math
import random
from typing import Final, NamedTuple

from training.data.scene import PALETTE, Scene, SceneObject
from training.data.scene_prompts import ScenePrompt

_RADIUS_RANGES: Final[dict[int, tuple[float, float]]] = {
    1: (0.22, 0.26),
    2: (0.17, 0.19),
    3: (0.14, 0.15),
    4: (0.14, 0.15),
}
"""Smallest and largest radius by the number of objects: as large as fits with ease."""
_LATTICE: Final = 8
"""Centres lie on multiples of an eighth of the side, like icons on a screen: what an outline looks like is then learnt
from a few examples, and the training goes into what the words mean."""
_GAP: Final = 0.06
"""Least distance between objects, and from an object to the border: two pixels of 32."""
_MIN_AXIS_RATIO: Final = 1.7
"""A related pair is this much further apart along one axis than along the other: at most 30 degrees off the axis."""
_TRIES_PER_OBJECT: Final = 12
_COLOURS: Final = tuple(PALETTE)


class _Disc(NamedTuple):
    """The room an object takes."""

    x: float
    y: float
    radius: float


def random_scene(prompt: ScenePrompt, random_source: random.Random) -> Scene:
    """A scene that shows the prompt; everything the prompt leaves open is drawn at random."""
    discs = _random_discs(len(prompt.objects), random_source)
    if prompt.relation is not None:
        while not _is_along_an_axis(*discs):
            discs = _random_discs(len(prompt.objects), random_source)
        while not _holds(prompt.relation, *discs):
            discs = [_Disc(1 - disc.y, disc.x, disc.radius) for disc in discs]  # a quarter turn of the whole scene
    return Scene(
        objects=tuple(
            SceneObject(
                shape=wanted.shape,
                colour=wanted.colour or random_source.choice(_COLOURS),
                x=disc.x,
                y=disc.y,
                radius=disc.radius,
            )
            for wanted, disc in zip(prompt.objects, discs, strict=True)
        )
    )


def _random_discs(num_discs: int, random_source: random.Random) -> list[_Disc]:
    """Discs with a gap between any two; starts over where the first ones leave no room."""
    low, high = _RADIUS_RANGES[num_discs]
    lines = [line / _LATTICE for line in range(_LATTICE + 1) if high + _GAP <= line / _LATTICE <= 1 - high - _GAP]
    discs: list[_Disc] = []
    for _ in range(num_discs * _TRIES_PER_OBJECT):
        radius = low + (high - low) * random_source.random()
        margin = radius + _GAP
        x, y = random_source.choice(lines), random_source.choice(lines)
        if all(math.hypot(x - disc.x, y - disc.y) >= margin + disc.radius for disc in discs):
            discs.append(_Disc(x, y, radius))
            if len(discs) == num_discs:
                return discs
    return _random_discs(num_discs, random_source)


def _is_along_an_axis(first: _Disc, second: _Disc) -> bool:
    shorter, longer = sorted((abs(first.x - second.x), abs(first.y - second.y)))
    return longer >= _MIN_AXIS_RATIO * shorter


def _holds(relation: str, first: _Disc, second: _Disc) -> bool:
    """Whether the first disc stands there as seen from the second; exactly one relation holds for an aligned pair."""
    right = first.x - second.x
    down = first.y - second.y
    if abs(right) > abs(down):
        return relation == ("right of" if right > 0 else "left of")
    return relation == ("below" if down > 0 else "above")
