"""Codecs: exact both ways, and latents as large as the noise they are mixed with."""

import pytest
import torch

from training.config import SpaceToDepthConfig
from training.data.base import CaptionedImages
from training.data.open_data import open_data
from training.latents import fitted_codec, open_codec
from training.presets import TINY_SCENES_CODEC


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_decoding_inverts_encoding(factor: int) -> None:
    codec = open_codec(SpaceToDepthConfig(factor=factor, mean=0.5, standard_deviation=0.4))
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents = codec.encode(images)
    assert latents.shape == (2, codec.num_channels, codec.latent_size(16), codec.latent_size(16))
    assert torch.allclose(codec.decode(latents), images, atol=1e-6)


def test_one_position_holds_one_square_of_pixels() -> None:
    images = torch.zeros(1, 3, 8, 8)
    images[:, :, 2:4, 4:6] = 1
    latents = open_codec(SpaceToDepthConfig(mean=0.0, standard_deviation=1.0)).encode(images)
    assert (latents[0, :, 1, 2] == 1).all()
    assert latents.sum() == 12


def test_decoding_stays_in_range() -> None:
    images = open_codec(SpaceToDepthConfig()).decode(torch.full((1, 12, 4, 4), 9.0))
    assert images.max() == 1


def test_a_fitted_codec_gives_zero_mean_and_unit_variance(data: CaptionedImages) -> None:
    latents = open_codec(fitted_codec(data)).encode(data.held_out_batch(0, 512).images)
    assert latents.mean().item() == pytest.approx(0, abs=0.1)
    assert latents.std().item() == pytest.approx(1, abs=0.1)


def test_the_preset_codec_is_the_fitted_one() -> None:
    assert fitted_codec(open_data("scenes")) == TINY_SCENES_CODEC
