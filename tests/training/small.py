"""Small things to train: eight-pixel pictures of one colour and a UNet of two stages."""

from dataclasses import dataclass

import torch

from search_space.arch import ArchConfig, AttentionConfig, ConvolutionConfig, FeedForwardConfig, PathConfig, StageConfig
from training.config import TextEncoderConfig
from training.data.base import Batch, CaptionedImages
from training.model import TextToImage, build_text_to_image

COLOURS = {"red": (0.9, -0.9, -0.9), "green": (-0.9, 0.9, -0.9), "blue": (-0.9, -0.9, 0.9)}


@dataclass
class PlainColours(CaptionedImages):
    """Pictures of one colour with a little noise, captioned by the colour."""

    name: str = "plain-colours"
    fingerprint: str = "plain-colours-1"
    image_size: int = 8

    def train_batch(self, step: int, batch_size: int, *, seed: int) -> Batch:
        return self._batch(torch.Generator().manual_seed(1_000_000 * seed + step), batch_size)

    def held_out_batch(self, index: int, batch_size: int) -> Batch:
        return self._batch(torch.Generator().manual_seed(10**12 + index), batch_size)

    def prompts(self) -> tuple[str, ...]:
        return tuple(COLOURS)

    def _batch(self, generator: torch.Generator, batch_size: int) -> Batch:
        captions = tuple(
            list(COLOURS)[index] for index in torch.randint(0, 3, (batch_size,), generator=generator).tolist()
        )
        colour = torch.tensor([COLOURS[caption] for caption in captions])[:, :, None, None]  # [B, 3, 1, 1]
        noise = torch.randn(batch_size, 3, self.image_size, self.image_size, generator=generator)
        return Batch(images=(colour + 0.05 * noise).clamp(-1, 1), captions=captions)


def make_arch(channels: tuple[int, ...] = (16, 32), *, cross_attention: bool = True) -> ArchConfig:
    """A UNet for 4 x 4 x 12 latents."""
    return ArchConfig(
        stages=tuple(_stage(width, cross_attention=cross_attention) for width in channels),
        mid=PathConfig(transformer_depths=(0,)),
        projection="linear",
        time_embedding_width=32,
        context_width=16,
        context_length=6,
        norm_groups=8,
        in_channels=12,
        out_channels=12,
        sample_size=4,
    )


def _stage(width: int, *, cross_attention: bool) -> StageConfig:
    path = PathConfig(transformer_depths=(1,), self_attention=False, cross_attention=cross_attention)
    no_transformer = PathConfig(transformer_depths=(0,))
    return StageConfig(
        channels=width,
        down=path if cross_attention else no_transformer,
        up=path if cross_attention else no_transformer,
        convolution=ConvolutionConfig(kind="full"),
        attention=AttentionConfig(head_dim=8, num_kv_heads=width // 8),
        feed_forward=FeedForwardConfig(kind="geglu", expansion=2),
    )


def make_model(arch: ArchConfig | None = None, *, seed: int = 0) -> TextToImage:
    """A model for `PlainColours`."""
    text_encoder = TextEncoderConfig(num_buckets=64, head_dim=8)
    return build_text_to_image(arch or make_arch(), text_encoder=text_encoder, seed=seed)
