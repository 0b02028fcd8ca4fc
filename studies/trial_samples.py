"""A sheet of pictures for every candidate that the search trains: what a score looks like.

Every trial gets the same prompts and the same starting noise, so two sheets may be laid side by side. A candidate has
seen few steps of training; a sheet must not cost more than a small share of them.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from training.config import SamplingConfig
from training.flow_matching import sample
from training.grid import save_grid
from training.model import TextToImage

NUM_PROMPTS = 8
"""The first of the data's prompts, which are as varied in any prefix: for scenes, every skill."""
MAX_STEPS = 6
"""Euler steps; 8 prompts with guidance take about a second on one core in the tiny space."""


def draw_samples(model: TextToImage, prompts: Sequence[str], sampling: SamplingConfig, path: Path) -> None:
    """Writes the sheet; a PNG is there whole or not at all."""
    prompts = prompts[:NUM_PROMPTS]
    settings = dataclasses.replace(sampling, steps=min(sampling.steps, MAX_STEPS))
    images = sample(model, prompts, **dataclasses.asdict(settings))  # [B, 3, H, W]
    partial = path.with_name(f"{path.name}.part")
    # A diverged candidate's NaN is shown as black.
    save_grid(torch.nan_to_num(images, nan=-1.0), prompts, partial)
    os.replace(partial, path)
