"""Procedural scenes: coloured shapes on a plain background, infinite, seeded, with captions that are exactly true.

They stand in for photographs where a download is not wanted: small enough for two CPU cores to learn in minutes, and
rich enough to ask what GenEval asks of a text-to-image model, since a detector can check every picture
(`training/metrics/scene_detector.py`).
"""

import random
from typing import Final

from training.data.base import Batch, CaptionedImages, content_fingerprint
from training.data.scene import BACKGROUND, PALETTE, SHAPES
from training.data.scene_layout import random_scene
from training.data.scene_prompts import SKILLS, ScenePrompt, held_out_prompts, prompt_split
from training.data.scene_rendering import render_scenes

_CONTENT_VERSION: Final = 3
"""Counts up whenever layout, outlines or sampling change what a seed draws."""

_TRAINING_SHARES: Final[dict[str, int]] = {
    "single_object": 1,
    "two_object": 2,
    "counting": 2,
    "colors": 1,
    "position": 3,
    "color_attribution": 3,
}
"""How often each skill is trained, relative to the others: what takes longer to learn comes up more often."""


class Scenes(CaptionedImages):
    """Training prompts by `_TRAINING_SHARES`, held-out prompts of every skill equally often."""

    def __init__(self, *, image_size: int = 32) -> None:
        """Makes the data set.

        Args:
            image_size: Side in pixels; below 32 the shapes become hard to tell apart.
        """
        self.name = "scenes"
        self.image_size = image_size
        self.fingerprint = content_fingerprint(
            {
                "name": self.name,
                "version": _CONTENT_VERSION,
                "image_size": image_size,
                "palette": PALETTE,
                "background": BACKGROUND,
                "shapes": SHAPES,
                "held_out": [prompt.text for prompt in held_out_prompts()],
            }
        )

    def train_batch(self, step: int, batch_size: int, *, seed: int) -> Batch:
        """Fresh scenes for training prompts."""
        random_source = random.Random(f"scenes/train/{seed}/{step}")
        training = prompt_split().training
        skills = random_source.choices(SKILLS, [_TRAINING_SHARES[skill] for skill in SKILLS], k=batch_size)
        prompts = [random_source.choice(training[skill]) for skill in skills]
        return self._draw(prompts, [random_source] * batch_size)

    def held_out_batch(self, index: int, batch_size: int) -> Batch:
        """Scenes for held-out prompts; picture k is the same whatever the batch size."""
        numbers = range(index * batch_size, (index + 1) * batch_size)
        prompts = [held_out_prompts()[number % len(held_out_prompts())] for number in numbers]
        return self._draw(prompts, [random.Random(f"scenes/held-out/{number}") for number in numbers])

    def prompts(self) -> tuple[str, ...]:
        """The 96 held-out prompts, 16 per skill, skills in turn."""
        return tuple(prompt.text for prompt in held_out_prompts())

    def _draw(self, prompts: list[ScenePrompt], random_sources: list[random.Random]) -> Batch:
        scenes = [random_scene(prompt, source) for prompt, source in zip(prompts, random_sources, strict=True)]
        return Batch(images=render_scenes(scenes, self.image_size), captions=tuple(prompt.text for prompt in prompts))
