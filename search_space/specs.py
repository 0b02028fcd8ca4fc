"""The kinds of block a UNet is made of, each with everything that decides its weights and its cost.

A spec says nothing about where its block stands, so two blocks with equal specs cost the same: `spec_key(spec)`, its
sorted JSON, is the key of the latency table. Whoever handles specs reads the union with `match ... assert_never`, so
the type checker lists every place that a new kind has to be handled. This file imports no torch.

Letters: `size` is the side of the square feature map that enters the block.
"""

import json
from dataclasses import dataclass
from typing import ClassVar

from search_space.arch import ConvolutionKind, FeedForwardKind, ProjectionKind, QKNorm
from search_space.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class ConvSpec:
    """A full convolution with bias that keeps the resolution: the first and the last layer."""

    kind: ClassVar[str] = "conv"

    in_channels: int
    """Channels in."""
    out_channels: int
    """Channels out."""
    size: int
    """Side of the feature map."""
    kernel: int = 3
    """Side of the kernel."""


@dataclass(frozen=True, kw_only=True)
class TimeEmbeddingSpec:
    """Sinusoids of the timestep, then two linear maps with SiLU between."""

    kind: ClassVar[str] = "time_embedding"

    in_width: int
    """Sinusoids."""
    out_width: int
    """Width of the embedding."""


@dataclass(frozen=True, kw_only=True)
class AddedEmbeddingSpec:
    """Pooled text and sinusoids of size ids, then two linear maps with SiLU between."""

    kind: ClassVar[str] = "added_embedding"

    pooled_text_width: int
    """Width of the pooled text; 0: none."""
    num_size_ids: int
    """How many numbers are embedded."""
    size_id_width: int
    """Sinusoids for each of them."""
    out_width: int
    """Width of the embedding."""

    @property
    def in_width(self) -> int:
        return self.pooled_text_width + self.num_size_ids * self.size_id_width


@dataclass(frozen=True, kw_only=True)
class ContextProjectionSpec:
    """A linear map over the text tokens, then perhaps an RMSNorm."""

    kind: ClassVar[str] = "context_projection"

    in_width: int
    """Channels of a token in."""
    out_width: int
    """Channels of a token out."""
    length: int
    """Text tokens."""
    norm: QKNorm
    """What follows the linear map."""


@dataclass(frozen=True, kw_only=True)
class ResidualSpec:
    """Concatenation with a skip (if any), GroupNorm, SiLU, convolution, time, GroupNorm, SiLU, convolution, sum."""

    kind: ClassVar[str] = "residual"

    in_channels: int
    """Channels in, the skip's included."""
    skip_channels: int
    """Channels that come from the skip; 0: no skip."""
    hidden_channels: int
    """Channels between the two convolutions."""
    out_channels: int
    """Channels out."""
    size: int
    """Side of the feature map."""
    time_width: int
    """Width of the time embedding."""
    convolution: ConvolutionKind
    """Full or depthwise-separable."""
    kernel: int
    """Side of the (depthwise) kernel."""
    norm_groups: int
    """Groups of both GroupNorms."""


@dataclass(frozen=True, kw_only=True)
class TransformerSpec:
    """Pixels as tokens: GroupNorm and projection in, `depth` transformer blocks, projection out, sum."""

    kind: ClassVar[str] = "transformer"

    channels: int
    """Width of the residual stream."""
    size: int
    """Side of the feature map: `size * size` tokens."""
    depth: int
    """Transformer blocks."""
    num_heads: int
    """Query heads."""
    num_kv_heads: int
    """Heads of keys and values."""
    self_attention: bool
    """Whether the blocks attend to the pixels."""
    cross_attention: bool
    """Whether the blocks attend to the text."""
    qk_norm: QKNorm
    """Whether queries and keys pass an RMSNorm over the head dimension."""
    rope: bool
    """Whether self-attention rotates queries and keys by row and column."""
    feed_forward: FeedForwardKind
    """Gated or plain."""
    hidden_channels: int
    """Channels inside the feed-forward layer."""
    projection: ProjectionKind
    """How pixels enter and leave."""
    context_width: int
    """Channels of a text token; 0 without cross-attention."""
    context_length: int
    """Text tokens; 0 without cross-attention."""
    norm_groups: int
    """Groups of the GroupNorm ahead of the projection; 0 without one."""
    norm_replaces_self_attention: bool
    """Whether blocks without self-attention still normalise their residual stream."""

    @property
    def head_dim(self) -> int:
        return self.channels // self.num_heads


@dataclass(frozen=True, kw_only=True)
class DownsampleSpec:
    """A convolution of stride 2."""

    kind: ClassVar[str] = "downsample"

    channels: int
    """Channels in and out."""
    size: int
    """Side of the feature map in; half of it comes out."""
    convolution: ConvolutionKind
    """Full or depthwise-separable."""


@dataclass(frozen=True, kw_only=True)
class UpsampleSpec:
    """Nearest-neighbour upsampling by 2, then a convolution."""

    kind: ClassVar[str] = "upsample"

    channels: int
    """Channels in and out."""
    size: int
    """Side of the feature map in; double of it comes out."""
    convolution: ConvolutionKind
    """Full or depthwise-separable."""


@dataclass(frozen=True, kw_only=True)
class NormOutSpec:
    """GroupNorm and SiLU ahead of the last convolution."""

    kind: ClassVar[str] = "norm_out"

    channels: int
    """Channels in and out."""
    size: int
    """Side of the feature map."""
    norm_groups: int
    """Groups of the GroupNorm."""


BlockSpec = (
    ConvSpec
    | TimeEmbeddingSpec
    | AddedEmbeddingSpec
    | ContextProjectionSpec
    | ResidualSpec
    | TransformerSpec
    | DownsampleSpec
    | UpsampleSpec
    | NormOutSpec
)

SPEC_KINDS: dict[str, type[BlockSpec]] = {
    spec_class.kind: spec_class
    for spec_class in (
        ConvSpec,
        TimeEmbeddingSpec,
        AddedEmbeddingSpec,
        ContextProjectionSpec,
        ResidualSpec,
        TransformerSpec,
        DownsampleSpec,
        UpsampleSpec,
        NormOutSpec,
    )
}


# An estimate makes forty keys in a millisecond: `json.dumps` would make an encoder for each of them, and
# `dataclasses.asdict` a deep copy of every number.
_KEY_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def spec_key(spec: BlockSpec) -> str:
    """The spec as sorted JSON, its kind included: the key of the latency table."""
    return _KEY_ENCODER.encode({"kind": spec.kind, **vars(spec)})


def spec_from_key(key: str) -> BlockSpec:
    """The inverse of `spec_key`.

    Raises:
        UsageError: The key is not the JSON of a spec.
    """
    try:
        fields = json.loads(key)
        return SPEC_KINDS[fields.pop("kind")](**fields)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"not the key of a block: {key[:120]}", allowed=f"kinds {', '.join(SPEC_KINDS)}") from None
