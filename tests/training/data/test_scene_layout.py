"""Random scenes show what their prompt says, inside the picture and apart from each other."""

import math
import random
from itertools import combinations

import pytest

from training.data.scene_layout import random_scene
from training.data.scene_prompts import SKILLS, parse_prompt, prompt_split


@pytest.mark.parametrize("skill", SKILLS)
def test_objects_agree_with_the_prompt_and_keep_their_distance(skill: str) -> None:
    random_source = random.Random(skill)
    for _ in range(100):
        prompt = random_source.choice(prompt_split().training[skill])
        scene = random_scene(prompt, random_source)
        for wanted, placed in zip(prompt.objects, scene.objects, strict=True):
            assert placed.shape == wanted.shape
            assert wanted.colour in (None, placed.colour)
            assert placed.radius < min(placed.x, placed.y, 1 - placed.x, 1 - placed.y)
        for one, other in combinations(scene.objects, 2):
            assert math.hypot(one.x - other.x, one.y - other.y) > one.radius + other.radius + 0.05


@pytest.mark.parametrize(
    ("relation", "axis", "sign"), [("left of", 0, -1), ("right of", 0, 1), ("above", 1, -1), ("below", 1, 1)]
)
def test_related_objects_stand_within_30_degrees_of_the_axis(relation: str, axis: int, sign: int) -> None:
    random_source = random.Random(relation)
    for _ in range(100):
        first, second = random_scene(parse_prompt(f"a circle {relation} a square"), random_source).objects
        offset = (first.x - second.x, first.y - second.y)
        assert sign * offset[axis] > 1.7 * abs(offset[1 - axis])
