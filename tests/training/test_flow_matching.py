"""Flow matching: the line, its timesteps, and the way back."""

import math

import pytest
import torch
from torch import Tensor

from training.flow_matching import (
    euler_timesteps,
    guided_velocity,
    integrate,
    interpolate,
    logit_normal_density,
    per_sample_error,
    sample,
    sample_timesteps,
    shift_timesteps,
    velocity_target,
)
from training.model import TextToImage

GAUSSIAN_MEAN, GAUSSIAN_SPREAD = 0.7, 0.3


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_velocity_is_the_derivative_of_the_interpolation() -> None:
    clean, noise = _random(4, 3, 2, 2, seed=1).double(), _random(4, 3, 2, 2, seed=2).double()
    t = torch.tensor([0.1, 0.3, 0.6, 0.9], dtype=torch.float64)
    slope = (interpolate(clean, noise, t + 1e-6) - interpolate(clean, noise, t - 1e-6)) / 2e-6
    assert torch.allclose(slope, velocity_target(clean, noise), atol=1e-6)
    assert torch.equal(interpolate(clean, noise, torch.zeros(4)), clean)
    assert torch.equal(interpolate(clean, noise, torch.ones(4)), noise)


def test_timesteps_are_logit_normal() -> None:
    t = sample_timesteps(4096, generator=torch.Generator().manual_seed(0))
    normal = torch.logit(t)
    assert normal.mean().item() == pytest.approx(0, abs=0.01)
    assert normal.std().item() == pytest.approx(1, abs=0.01)
    assert 0 < t.min() < t.max() < 1


def test_timesteps_depend_on_the_generator_alone() -> None:
    draws = [sample_timesteps(8, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_the_logit_normal_density_integrates_to_one() -> None:
    t = (torch.arange(20_000) + 0.5) / 20_000
    assert logit_normal_density(t).mean().item() == pytest.approx(1, abs=1e-4)
    assert logit_normal_density(torch.tensor(0.5)).item() == pytest.approx(4 / math.sqrt(2 * math.pi), abs=1e-5)


def test_a_shift_moves_timesteps_towards_noise_and_keeps_the_ends() -> None:
    t = torch.linspace(0, 1, 11)
    shifted = shift_timesteps(t, 3.0)
    assert torch.equal(shift_timesteps(t, 1.0), t)
    assert (shifted[1:-1] > t[1:-1]).all()
    assert (shifted[0].item(), shifted[-1].item()) == (0, 1)


def test_euler_times_fall_from_one_to_zero() -> None:
    times = euler_timesteps(16, shift=3.0)
    assert len(times) == 17
    assert (times[0].item(), times[-1].item()) == (1, 0)
    assert (times.diff() < 0).all()


@pytest.mark.parametrize(("num_steps", "tolerance"), [(50, 0.03), (400, 0.004)])
def test_euler_turns_noise_into_a_gaussian_whose_velocity_is_known(num_steps: int, tolerance: float) -> None:
    """For x_0 ~ N(m, s^2) the exact flow maps eps to m + s eps."""
    noise = _random(8, 2, 4, 4).double()
    latent = integrate(_gaussian_velocity, noise, num_steps=num_steps)
    assert (latent - (GAUSSIAN_MEAN + GAUSSIAN_SPREAD * noise)).abs().max() < tolerance * noise.abs().max()


@pytest.mark.parametrize("renewal", [0.5, 1.0])
def test_renewed_noise_narrows_a_gaussian_exactly_as_it_should(renewal: float) -> None:
    """The velocity is linear in the latent, so the variance after every step follows from the one before."""
    num_steps = 20
    variance = 1.0
    for step in range(num_steps):
        now, after = 1 - step / num_steps, 1 - (step + 1) / num_steps
        total = (1 - now) ** 2 * GAUSSIAN_SPREAD**2 + now**2
        clean, noise = (1 - now) * GAUSSIAN_SPREAD**2 / total, now / total  # of the latent's deviation from its mean
        kept = math.sqrt(1 - renewal**2) * after * noise
        variance = ((1 - after) * clean + kept) ** 2 * variance + (after * renewal) ** 2

    latent = integrate(
        _gaussian_velocity, _random(2000, 2, 4, 4).double(), num_steps=num_steps, renewal=renewal, seed=3
    )
    assert latent.mean().item() == pytest.approx(GAUSSIAN_MEAN, abs=0.01)
    assert latent.std().item() == pytest.approx(math.sqrt(variance), rel=0.02)
    assert math.sqrt(variance) < GAUSSIAN_SPREAD


def test_one_euler_step_is_exact_when_the_velocity_is_constant() -> None:
    clean, noise = _random(2, 3, 4, 4, seed=1), _random(2, 3, 4, 4, seed=2)
    assert torch.allclose(integrate(lambda latent, t: noise - clean, noise, num_steps=1), clean, atol=1e-6)


def _gaussian_velocity(latent: Tensor, t: Tensor) -> Tensor:
    """E[v | x_t] where x_0 ~ N(m, s^2): linear in x_t."""
    t = t.view(-1, 1, 1, 1)
    variance = (1 - t) ** 2 * GAUSSIAN_SPREAD**2 + t**2
    slope = (t - (1 - t) * GAUSSIAN_SPREAD**2) / variance
    return -GAUSSIAN_MEAN + slope * (latent - (1 - t) * GAUSSIAN_MEAN)


def test_guidance_one_is_the_conditional_and_zero_the_unconditional() -> None:
    conditional, unconditional = _random(2, 3, 4, 4, seed=1), _random(2, 3, 4, 4, seed=2)
    assert torch.allclose(guided_velocity(conditional, unconditional, 1.0), conditional, atol=1e-6)
    assert torch.equal(guided_velocity(conditional, unconditional, 0.0), unconditional)


def test_the_error_of_a_picture_is_its_own() -> None:
    error = per_sample_error(torch.zeros(2, 3, 4, 4), torch.stack([torch.ones(3, 4, 4), torch.full((3, 4, 4), 2.0)]))
    assert error.tolist() == [1, 4]


@pytest.mark.parametrize("renewal", [0.0, 0.8])
def test_sampling_repeats_bit_for_bit_and_starts_with_the_same_pictures(model: TextToImage, renewal: float) -> None:
    first = sample(model, ["red", "blue"], steps=3, seed=5, renewal=renewal)
    again = sample(model, ["red", "blue"], steps=3, seed=5, renewal=renewal)
    more = sample(model, ["red", "blue", "green"], steps=3, seed=5, renewal=renewal)
    assert first.shape == (2, 3, 8, 8)
    assert first.abs().max() <= 1
    assert torch.equal(first, again)
    assert torch.allclose(first, more[:2], atol=1e-5)
    assert not torch.equal(first, sample(model, ["red", "blue"], steps=3, seed=6, renewal=renewal))


def test_sampling_with_guidance_one_ignores_the_empty_caption(model: TextToImage) -> None:
    def velocity(latent: Tensor, t: Tensor) -> Tensor:
        return model.velocity(latent, t, context)

    with torch.no_grad():
        context = model.encode_text(["red"])
        noise = torch.randn(1, *model.latent_shape, generator=torch.Generator().manual_seed(0))
        expected = model.codec.decode(integrate(velocity, noise, num_steps=3))
    assert torch.equal(sample(model, ["red"], steps=3, guidance=1.0, seed=0), expected)


def test_guiding_the_empty_caption_changes_nothing(model: TextToImage) -> None:
    plain = sample(model, [""], steps=3, guidance=1.0)
    assert torch.allclose(sample(model, [""], steps=3, guidance=5.0), plain, atol=1e-4)
