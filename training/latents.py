"""Between pixels and latents.

The UNet never sees pixels: it sees what a codec makes of them. At SnapGen's scale that is an autoencoder; on a laptop
it is a rearrangement that needs no training and loses nothing. A new codec is a new config in `training/config.py` and
a new case in `open_codec`.
"""

from abc import ABC, abstractmethod

from torch import Tensor
from torch.nn import functional

from training.config import SpaceToDepthConfig
from training.data.base import CaptionedImages

IMAGE_CHANNELS = 3


class LatentCodec(ABC):
    """Turns images into latents of about unit variance and back."""

    config: SpaceToDepthConfig

    @property
    @abstractmethod
    def num_channels(self) -> int:
        """Channels of a latent."""

    @abstractmethod
    def latent_size(self, image_size: int) -> int:
        """The side of the latent of an image with this side, in positions."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """`[B, 3, H, W]` in [-1, 1] to `[B, C, h, w]`."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """`[B, C, h, w]` to `[B, 3, H, W]`, clipped to [-1, 1]."""


class SpaceToDepth(LatentCodec):
    """Every `factor` x `factor` square of pixels as the channels of one position: exact, free, no weights."""

    def __init__(self, config: SpaceToDepthConfig) -> None:
        self.config = config

    @property
    def num_channels(self) -> int:
        return IMAGE_CHANNELS * self.config.factor**2

    def latent_size(self, image_size: int) -> int:
        return image_size // self.config.factor

    def encode(self, images: Tensor) -> Tensor:
        normalised = (images - self.config.mean) / self.config.standard_deviation  # [B, 3, H, W]
        return functional.pixel_unshuffle(normalised, self.config.factor)  # [B, 3 * f * f, H / f, W / f]

    def decode(self, latents: Tensor) -> Tensor:
        normalised = functional.pixel_shuffle(latents, self.config.factor)  # [B, 3, H, W]
        return (normalised * self.config.standard_deviation + self.config.mean).clamp(-1, 1)


def open_codec(config: SpaceToDepthConfig) -> LatentCodec:
    """The codec a config describes."""
    return SpaceToDepth(config)


def fitted_codec(data: CaptionedImages, *, factor: int = 2, num_images: int = 256) -> SpaceToDepthConfig:
    """The codec whose latents of this data have zero mean and unit variance, as the noise they are mixed with has.

    The two numbers are rounded, so that they (and all that is hashed with them) are the same on every machine.
    """
    images = data.train_batch(0, num_images, seed=0).images  # [B, 3, H, W]
    return SpaceToDepthConfig(
        factor=factor,
        mean=round(images.mean().item(), 2),
        standard_deviation=max(round(images.std().item(), 2), 0.1),
    )
