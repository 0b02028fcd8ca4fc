"""Scores samples by whatever judge their data set has, in one flat table that a study can store and show."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from training.data.base import CaptionedImages
from training.data.digits import Digits
from training.data.scenes import Scenes
from training.metrics.digits import score_digits
from training.metrics.scene_detector import score_scenes


def score_samples(
    data: CaptionedImages, images: Tensor, prompts: Sequence[str], *, cache_dir: Path
) -> dict[str, float]:
    """How well samples show what was asked for.

    Args:
        data: The data set the model was trained on; it decides the judge.
        images: `[N, 3, H, W]`, meant to be in [-1, 1], N at least 1; what lies outside is clipped, as in a PNG.
        prompts: N prompts, from `data.prompts()`.
        cache_dir: Where the judge of digits is kept.

    Returns:
        Finite numbers. "overall" is in [0, 1], higher is better: for scenes the mean of the six skills, which stand
        beside it by name; for digits the accuracy. "frechet_distance" (digits) is better when lower and biased upwards
        for few samples, so "num_samples" goes with it. Empty for a folder: its images have no judge.
    """
    # A diverged model's NaN is shown, and judged, as black.
    images = torch.nan_to_num(images.detach().float().cpu(), nan=-1.0).clamp(-1, 1)
    num_samples = float(len(images))
    match data:
        case Scenes():
            scenes = score_scenes(images, prompts)
            return {"overall": scenes.overall, **scenes.accuracy_by_skill, "num_samples": num_samples}
        case Digits():
            digits = score_digits(data, images, prompts, cache_dir=cache_dir)
            return {
                "overall": digits.accuracy,
                "frechet_distance": digits.frechet.value,
                "num_samples": num_samples,
            }
        case _:
            return {}
