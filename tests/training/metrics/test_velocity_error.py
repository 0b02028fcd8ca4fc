"""The velocity error: common random numbers, and a value that can be told beforehand."""

import pytest
import torch

from tests.training.small import PlainColours, make_arch, make_model
from training.metrics.velocity_error import velocity_error


def test_a_model_that_says_nothing_has_the_variance_of_picture_and_noise() -> None:
    model = make_model().eval()
    for parameter in model.unet.parameters():
        torch.nn.init.zeros_(parameter)
    data = PlainColours()
    latents = model.codec.encode(data.held_out_batch(0, 64).images)
    error = velocity_error(model, data, num_images=64, num_bins=4)
    assert error.mean == pytest.approx(latents.square().mean().item() + 1, rel=0.05)
    assert len(error.by_timestep) == 4
    assert error.mean == pytest.approx(sum(error.by_timestep) / 4)


def test_the_same_model_gets_the_same_value_and_another_seed_another() -> None:
    model, data = make_model().eval(), PlainColours()
    assert velocity_error(model, data, num_images=16) == velocity_error(model, data, num_images=16)
    assert velocity_error(model, data, num_images=16) != velocity_error(model, data, num_images=16, seed=1)


def test_models_of_different_architectures_are_asked_the_same() -> None:
    """Two silent models differ in architecture only, so common random numbers give them one value to the bit."""
    values = []
    for arch in (make_arch((16,)), make_arch((16, 32))):
        model = make_model(arch).eval()
        for parameter in model.unet.parameters():
            torch.nn.init.zeros_(parameter)
        values.append(velocity_error(model, PlainColours(), num_images=16))
    assert values[0] == values[1]
