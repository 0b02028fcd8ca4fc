"""Flow matching: the straight line between a picture and noise, the loss that learns its velocity, the way back.

    x_t = (1 - t) x_0 + t eps          rectified flow, s_t = t (Liu et al. 2209.03003; SD3, 2403.03206, Equation 13)
    v   = d x_t / d t = eps - x_0      what the network learns to predict

t is 0 at the picture and 1 at noise. Everything here is a pure function of its arguments: randomness comes in as a
`torch.Generator`, the network as a callable.

Letters: B pictures, C channels, H height, W width of a latent.
"""

import itertools
import math
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from training.model import TextToImage

VelocityField = Callable[[Tensor, Tensor], Tensor]
"""(latent `[B, C, H, W]`, t `[B]`) to velocity `[B, C, H, W]`."""

_SAMPLING_BATCH_SIZE = 64


def interpolate(clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t = (1 - t) x_0 + t eps, for `clean`, `noise` `[B, C, H, W]` and t `[B]`."""
    t = t.view(-1, 1, 1, 1)  # [B, 1, 1, 1]
    return (1 - t) * clean + t * noise  # [B, C, H, W]


def velocity_target(clean: Tensor, noise: Tensor) -> Tensor:
    """v = eps - x_0, `[B, C, H, W]`."""
    return noise - clean


def shift_timesteps(t: Tensor, shift: float) -> Tensor:
    """Moves timesteps towards noise for shift > 1 (SD3, 2403.03206, Equation 23); 0 and 1 stay where they are."""
    return shift * t / (1 + (shift - 1) * t)


def sample_timesteps(num: int, *, generator: torch.Generator, shift: float = 1.0) -> Tensor:
    """Logit-normal(0, 1) timesteps `[num]` in (0, 1): most of them where the velocity is hardest (SD3, section 3.1).

    Stratified: one draw from each of `num` equal slices of probability, which leaves the distribution as it is and
    takes a good part of the variance out of a small batch's loss.
    """
    slices = torch.randperm(num, generator=generator)  # [num]
    return timesteps_at((slices + torch.rand(num, generator=generator)) / num, shift=shift)


def timesteps_at(quantiles: Tensor, *, shift: float = 1.0) -> Tensor:
    """The timesteps below which this share of all training timesteps lies: `[num]` in [0, 1] to `[num]` in (0, 1)."""
    normal = torch.special.ndtri(quantiles.clamp(1e-4, 1 - 1e-4))  # [num]
    return shift_timesteps(torch.sigmoid(normal), shift)


def logit_normal_density(t: Tensor) -> Tensor:
    """The density of sigmoid(n), n ~ N(0, 1), at t in (0, 1) (SD3, Equation 19 with m = 0, s = 1)."""
    normal = torch.logit(t)
    return torch.exp(-normal.square() / 2) / (math.sqrt(2 * math.pi) * t * (1 - t))


def per_sample_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each picture, in fp32: `[B, C, H, W]` twice to `[B]`."""
    return (predicted.float() - target.float()).square().flatten(1).mean(1)


def euler_timesteps(num_steps: int, *, shift: float = 1.0) -> Tensor:
    """The `num_steps + 1` times from noise (1) to picture (0) between which the sampler walks straight."""
    return shift_timesteps(torch.linspace(1, 0, num_steps + 1, dtype=torch.float64), shift)


def integrate(
    velocity: VelocityField,
    noise: Tensor,
    *,
    num_steps: int,
    shift: float = 1.0,
    renewal: float = 0.0,
    seed: int = 0,
) -> Tensor:
    """From noise at t = 1 to a latent at t = 0, one call of `velocity` a step; Euler's method when `renewal` is 0.

    A deterministic path cannot take back what its first steps decided. With `renewal` r, the noise left after a step
    becomes sqrt(1 - r^2) of itself and r of new noise; with r = 1 all of it is new, as consistency models sample (Song
    et al. 2303.01469, Algorithm 1). Pictures then gather where the model is surest: fewer mistakes, less variety.

    Args:
        velocity: The field to follow.
        noise: `[B, C, H, W]`.
        num_steps: How many steps.
        shift: See `shift_timesteps`.
        renewal: r, 0 to 1.
        seed: Decides the new noise; the first pictures get the same however many follow.
    """
    latent = noise
    for step, (now, after) in enumerate(itertools.pairwise(euler_timesteps(num_steps, shift=shift).tolist())):
        t = torch.full((len(latent),), now, dtype=latent.dtype, device=latent.device)  # [B]
        slope = velocity(latent, t)  # [B, C, H, W]
        if renewal > 0:
            fresh = new_noise(latent.shape, step=step, seed=seed).to(latent)  # [B, C, H, W]
            left = latent + (1 - now) * slope  # [B, C, H, W], the noise that the velocity sees in the latent
            latent = latent + after * ((math.sqrt(1 - renewal**2) - 1) * left + renewal * fresh)
        latent = latent + (after - now) * slope  # [B, C, H, W]
    return latent


def new_noise(shape: Sequence[int], *, step: int, seed: int) -> Tensor:
    """The noise `[B, C, H, W]` that the sampler draws after a step (from 0); the same first rows for any B."""
    generator = torch.Generator().manual_seed(random.Random(f"step {step} of seed {seed}").getrandbits(63))
    return torch.randn(*shape, generator=generator)


def guided_velocity(conditional: Tensor, unconditional: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans, 2207.12598, Equation 6 with guidance = 1 + w)."""
    return unconditional + guidance * (conditional - unconditional)  # [B, C, H, W]


@torch.no_grad()
def sample(
    model: "TextToImage",
    prompts: Sequence[str],
    *,
    steps: int = 16,
    guidance: float = 3.0,
    seed: int = 0,
    timestep_shift: float = 1.0,
    renewal: float = 0.0,
) -> Tensor:
    """Draws one picture for each prompt; the first prompts get the same noise however many follow.

    Args:
        model: What to draw with; two evaluations a step, one when `guidance` is 1.
        prompts: B captions.
        steps: Euler steps.
        guidance: Strength of classifier-free guidance; 1 is the conditional model alone.
        seed: Decides all noise.
        timestep_shift: Above 1, more of the steps are spent near noise.
        renewal: How much of the noise every step draws anew, 0 to 1; see `integrate`.

    Returns:
        `[B, 3, H, W]` in [-1, 1], on the CPU.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(prompts), *model.latent_shape, generator=generator).to(model.device)  # [B, C, H, W]
    velocity = _guided_field(model, prompts, guidance)
    latent = integrate(velocity, noise, num_steps=steps, shift=timestep_shift, renewal=renewal, seed=seed)
    images: Tensor = model.codec.decode(latent).cpu()  # [B, 3, H, W]
    return images


def _guided_field(model: "TextToImage", prompts: Sequence[str], guidance: float) -> VelocityField:
    context = model.encode_text(prompts)  # [B, L, D]
    empty = model.encode_text([""])  # [1, L, D]

    def guided(latent: Tensor, t: Tensor, context: Tensor) -> Tensor:
        if guidance == 1:
            return model.velocity(latent, t, context)
        both = torch.cat([context, empty.expand_as(context)])  # [2 b, L, D]
        predicted = model.velocity(latent.repeat(2, 1, 1, 1), t.repeat(2), both)  # [2 b, C, H, W]
        conditional, unconditional = predicted.chunk(2)  # each [b, C, H, W]
        return guided_velocity(conditional, unconditional, guidance)  # [b, C, H, W]

    def velocity(latent: Tensor, t: Tensor) -> Tensor:
        chunks = (torch.split(part, _SAMPLING_BATCH_SIZE) for part in (latent, t, context))
        return torch.cat([guided(*chunk) for chunk in zip(*chunks, strict=True)])  # [B, C, H, W]

    return velocity
