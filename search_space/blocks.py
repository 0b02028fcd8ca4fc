"""Builds the module of every kind of block, and inputs to run it alone.

`build_block(spec)` is the only way modules come into being: `unet.py` assembles them, the profilers measure them one by
one. Parameter names follow diffusers' `UNet2DConditionModel`.

Letters: B batch, C channels, H and W the feature map, L text tokens, T width of the time embedding.
"""

import math
from typing import assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_space.attention import TransformerBlock
from search_space.convolution import convolution
from search_space.specs import (
    AddedEmbeddingSpec,
    BlockSpec,
    ContextProjectionSpec,
    ConvSpec,
    DownsampleSpec,
    NormOutSpec,
    ResidualSpec,
    TimeEmbeddingSpec,
    TransformerSpec,
    UpsampleSpec,
)

RESIDUAL_NORM_EPS = 1e-5
TRANSFORMER_NORM_EPS = 1e-6
"""Of the GroupNorms in residual blocks and ahead of transformers, as in every published UNet."""


class TimeEmbedding(nn.Module):
    """Timesteps `[B]` to embeddings `[B, T]`."""

    def __init__(self, spec: TimeEmbeddingSpec) -> None:
        super().__init__()
        self.in_width = spec.in_width
        self.linear_1 = nn.Linear(spec.in_width, spec.out_width)
        self.linear_2 = nn.Linear(spec.out_width, spec.out_width)

    def forward(self, timestep: Tensor) -> Tensor:
        waves = sinusoids(timestep, self.in_width).to(self.linear_1.weight.dtype)  # [B, in_width]
        out: Tensor = self.linear_2(F.silu(self.linear_1(waves)))  # [B, T]
        return out


class AddedEmbedding(nn.Module):
    """Pooled text `[B, pooled_text_width]` and size ids `[B, num_size_ids]` to embeddings `[B, T]`."""

    def __init__(self, spec: AddedEmbeddingSpec) -> None:
        super().__init__()
        self.size_id_width = spec.size_id_width
        self.has_pooled_text = spec.pooled_text_width > 0
        self.linear_1 = nn.Linear(spec.in_width, spec.out_width)
        self.linear_2 = nn.Linear(spec.out_width, spec.out_width)

    def forward(self, size_ids: Tensor, pooled_text: Tensor | None = None) -> Tensor:
        batch = size_ids.shape[0]
        waves = sinusoids(size_ids.flatten(), self.size_id_width).reshape(batch, -1).to(self.linear_1.weight.dtype)
        if self.has_pooled_text:
            assert pooled_text is not None, "this network was built with a pooled text embedding"
            waves = torch.cat([pooled_text, waves], dim=-1)  # [B, in_width]
        out: Tensor = self.linear_2(F.silu(self.linear_1(waves)))  # [B, T]
        return out


class ResidualBlock(nn.Module):
    """GroupNorm, SiLU, convolution, time embedding, GroupNorm, SiLU, convolution, shortcut."""

    def __init__(self, spec: ResidualSpec) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(spec.norm_groups, spec.in_channels, eps=RESIDUAL_NORM_EPS)
        self.conv1 = convolution(spec.convolution, spec.in_channels, spec.hidden_channels, kernel=spec.kernel)
        self.time_emb_proj = nn.Linear(spec.time_width, spec.hidden_channels)
        self.norm2 = nn.GroupNorm(spec.norm_groups, spec.hidden_channels, eps=RESIDUAL_NORM_EPS)
        self.conv2 = convolution(spec.convolution, spec.hidden_channels, spec.out_channels, kernel=spec.kernel)
        changes_width = spec.in_channels != spec.out_channels
        self.conv_shortcut = nn.Conv2d(spec.in_channels, spec.out_channels, 1) if changes_width else nn.Identity()

    def forward(self, x: Tensor, time: Tensor, skip: Tensor | None = None) -> Tensor:
        """Maps `x: [B, C_in - C_skip, H, W]`, `time: [B, T]` and `skip: [B, C_skip, H, W]` to `[B, C_out, H, W]`."""
        if skip is not None:
            x = torch.cat([x, skip], dim=1)
        hidden = self.conv1(F.silu(self.norm1(x)))  # [B, C_hidden, H, W]
        hidden = hidden + self.time_emb_proj(F.silu(time))[:, :, None, None]
        hidden = self.conv2(F.silu(self.norm2(hidden)))  # [B, C_out, H, W]
        out: Tensor = self.conv_shortcut(x) + hidden
        return out


class Transformer(nn.Module):
    """A stack of transformer blocks over the pixels of a feature map."""

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__()
        self.projection = spec.projection
        match spec.projection:
            case "conv":
                self.proj_in: nn.Module = nn.Conv2d(spec.channels, spec.channels, 1)
                self.proj_out: nn.Module = nn.Conv2d(spec.channels, spec.channels, 1)
            case "linear":
                self.proj_in = nn.Linear(spec.channels, spec.channels)
                self.proj_out = nn.Linear(spec.channels, spec.channels)
            case "none":
                pass
            case _:
                assert_never(spec.projection)
        if spec.projection != "none":
            self.norm = nn.GroupNorm(spec.norm_groups, spec.channels, eps=TRANSFORMER_NORM_EPS)
        self.transformer_blocks = nn.ModuleList(TransformerBlock(spec) for _ in range(spec.depth))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps `x: [B, C, H, W]` to the same shape, looking at `context: [B, L, context_width]`."""
        match self.projection:
            case "conv":
                out: Tensor = self.proj_out(self._attend(self.proj_in(self.norm(x)), context))
                return x + out
            case "linear":
                tokens = self.proj_in(_to_tokens(self.norm(x)))  # [B, HW, C]
                for block in self.transformer_blocks:
                    tokens = block(tokens, context)
                return x + _to_pixels(self.proj_out(tokens), x)
            case "none":
                return self._attend(x, context)
            case _:
                assert_never(self.projection)

    def _attend(self, x: Tensor, context: Tensor | None) -> Tensor:
        tokens = _to_tokens(x)  # [B, HW, C]
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        return _to_pixels(tokens, x)


class Downsample(nn.Module):
    """`[B, C, H, W]` to `[B, C, H / 2, W / 2]`."""

    def __init__(self, spec: DownsampleSpec) -> None:
        super().__init__()
        self.conv = convolution(spec.convolution, spec.channels, spec.channels, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class Upsample(nn.Module):
    """`[B, C, H, W]` to `[B, C, 2H, 2W]`."""

    def __init__(self, spec: UpsampleSpec) -> None:
        super().__init__()
        self.conv = convolution(spec.convolution, spec.channels, spec.channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


class NormOut(nn.GroupNorm):
    """GroupNorm, then SiLU; a GroupNorm itself, so that its parameters are named as in diffusers."""

    def forward(self, input: Tensor) -> Tensor:
        return F.silu(super().forward(input))


def build_block(spec: BlockSpec) -> nn.Module:
    """The module of one block, with fresh weights drawn from torch's global generator."""
    match spec:
        case ConvSpec():
            return nn.Conv2d(spec.in_channels, spec.out_channels, spec.kernel, padding=spec.kernel // 2)
        case TimeEmbeddingSpec():
            return TimeEmbedding(spec)
        case AddedEmbeddingSpec():
            return AddedEmbedding(spec)
        case ContextProjectionSpec(norm="none"):
            return nn.Linear(spec.in_width, spec.out_width)
        case ContextProjectionSpec():
            return nn.Sequential(nn.Linear(spec.in_width, spec.out_width), nn.RMSNorm(spec.out_width, eps=1e-5))
        case ResidualSpec():
            return ResidualBlock(spec)
        case TransformerSpec():
            return Transformer(spec)
        case DownsampleSpec():
            return Downsample(spec)
        case UpsampleSpec():
            return Upsample(spec)
        case NormOutSpec():
            return NormOut(spec.norm_groups, spec.channels, eps=RESIDUAL_NORM_EPS)
        case _:
            assert_never(spec)


def example_inputs(
    spec: BlockSpec, batch_size: int = 1, generator: torch.Generator | None = None
) -> tuple[Tensor, ...]:
    """Random inputs for the module of one block, in the order of its `forward`."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch_size, *shape, generator=generator)

    match spec:
        case ConvSpec():
            return (normal(spec.in_channels, spec.size, spec.size),)
        case TimeEmbeddingSpec():
            return (500 * normal().abs(),)
        case AddedEmbeddingSpec():
            size_ids = 1000 * normal(spec.num_size_ids).abs()
            return (size_ids, normal(spec.pooled_text_width)) if spec.pooled_text_width else (size_ids,)
        case ContextProjectionSpec():
            return (normal(spec.length, spec.in_width),)
        case ResidualSpec():
            x = normal(spec.in_channels - spec.skip_channels, spec.size, spec.size)
            skip = (normal(spec.skip_channels, spec.size, spec.size),) if spec.skip_channels else ()
            return (x, normal(spec.time_width), *skip)
        case TransformerSpec():
            x = normal(spec.channels, spec.size, spec.size)
            return (x, normal(spec.context_length, spec.context_width)) if spec.cross_attention else (x,)
        case DownsampleSpec() | UpsampleSpec() | NormOutSpec():
            return (normal(spec.channels, spec.size, spec.size),)
        case _:
            assert_never(spec)


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """Cosines, then sines, of positions `[B]` at `width / 2` frequencies (arXiv:2006.11239): `[B, width]`."""
    half = width // 2
    exponents = -math.log(10000.0) * torch.arange(half, dtype=torch.float32, device=positions.device) / half
    angles = positions[:, None].float() * exponents.exp()[None]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def _to_tokens(x: Tensor) -> Tensor:
    """`[B, C, H, W]` to `[B, HW, C]`."""
    return x.flatten(2).transpose(1, 2)


def _to_pixels(tokens: Tensor, like: Tensor) -> Tensor:
    """`[B, HW, C]` to the shape of `like: [B, C, H, W]`."""
    return tokens.transpose(1, 2).reshape(like.shape)
