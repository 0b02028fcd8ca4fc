"""How well a model predicts the velocity of pictures it has never seen, at the timesteps that training weighs.

The one measure that means the same on every data set and for every architecture. Common random numbers: every model is
asked about the same pictures, the same noise and the same timesteps, so a difference between two models is the models'.
"""

from dataclasses import dataclass

import torch

from search_space.progress import progress
from training.data.base import CaptionedImages
from training.flow_matching import interpolate, per_sample_error, timesteps_at, velocity_target
from training.model import TextToImage

METRIC_VERSION = 2
"""Counts up whenever the same model would get another value."""

_BATCH_SIZE = 64


@dataclass(frozen=True, kw_only=True)
class VelocityError:
    """Held-out mean squared error of the velocity; 0 is perfect and out of reach, about 2 knows nothing."""

    mean: float
    """Over the timesteps of training, each as often as it comes up there."""
    by_timestep: tuple[float, ...]
    """Over slices of [0, 1] that training visits equally often, from the picture's end to the noise's."""


@torch.no_grad()
def velocity_error(
    model: TextToImage,
    data: CaptionedImages,
    *,
    num_images: int = 128,
    num_bins: int = 8,
    timestep_shift: float = 1.0,
    seed: int = 0,
) -> VelocityError:
    """Measures a model on `num_images` held-out pictures, once each; cost: that many forward passes.

    Args:
        model: In evaluation mode.
        data: Its held-out part is read.
        num_images: How many pictures; a multiple of `num_bins` shares them out evenly.
        num_bins: Slices of [0, 1]; picture k is asked about in the middle of slice k mod `num_bins`.
        timestep_shift: That of the training, which decides the slices.
        seed: Decides the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    errors = []
    with progress("measuring the velocity error", total=num_images, unit="image") as bar:
        for index in range(-(-num_images // _BATCH_SIZE)):
            batch = data.held_out_batch(index, _BATCH_SIZE)
            clean = model.codec.encode(batch.images)  # [B, C, H, W]
            noise = torch.randn(clean.shape, generator=generator)  # [B, C, H, W]
            number = torch.arange(index * _BATCH_SIZE, index * _BATCH_SIZE + len(clean))  # [B]
            t = timesteps_at((number % num_bins + 0.5) / num_bins, shift=timestep_shift)  # [B]
            latent, target = interpolate(clean, noise, t), velocity_target(clean, noise)
            context = model.encode_text(batch.captions)  # [B, L, D]
            velocity = model.velocity(latent.to(model.device), t.to(model.device), context)  # [B, C, H, W]
            errors.append(per_sample_error(velocity.cpu(), target))
            bar.advance(min(_BATCH_SIZE, num_images - index * _BATCH_SIZE))
    error = torch.cat(errors)[:num_images].double()  # [num_images]
    by_timestep = tuple(error[first::num_bins].mean().item() for first in range(num_bins))
    return VelocityError(mean=sum(by_timestep) / num_bins, by_timestep=by_timestep)
