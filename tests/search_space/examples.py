"""Small architectures and one spec of every kind and branch, to test with."""

from typing import Any

from hypothesis import strategies as st

from search_space.arch import ArchConfig, AttentionConfig, ConvolutionConfig, FeedForwardConfig, PathConfig, StageConfig
from search_space.space import random_arch
from search_space.spaces import SNAPGEN, TINY
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

random_archs = st.builds(random_arch, st.sampled_from((TINY, SNAPGEN)), st.integers(0, 2**32))
"""Architectures of both spaces."""

BOTH = PathConfig(transformer_depths=(1,), self_attention=True, cross_attention=True)
CROSS = PathConfig(transformer_depths=(1,), cross_attention=True)
ITSELF = PathConfig(transformer_depths=(1,), self_attention=True)
FEED_FORWARD_ONLY = PathConfig(transformer_depths=(1,))
PLAIN = PathConfig(transformer_depths=(0,))
NO_MIDDLE = PathConfig(transformer_depths=())
"""Paths of one residual block (or none), by what their transformers attend to."""


def small_stage(**changes: Any) -> StageConfig:
    """One residual block down and up, each with a transformer that attends to pixels and text."""
    defaults: dict[str, Any] = {
        "channels": 32,
        "down": BOTH,
        "up": BOTH,
        "convolution": ConvolutionConfig(),
        "attention": AttentionConfig(head_dim=8, num_kv_heads=2),
        "feed_forward": FeedForwardConfig(expansion=2),
    }
    return StageConfig(**defaults | changes)


def small_arch(*stages: StageConfig, **changes: Any) -> ArchConfig:
    """Two stages of 8 x 8 and 4 x 4 pixels, or the given ones."""
    defaults: dict[str, Any] = {
        "stages": stages or (small_stage(), small_stage(channels=64)),
        "mid": BOTH,
        "time_embedding_width": 48,
        "context_width": 24,
        "context_length": 7,
        "norm_groups": 8,
        "sample_size": 8,
    }
    return ArchConfig(**defaults | changes)


def transformer_spec(**changes: Any) -> TransformerSpec:
    """Two transformer blocks of 32 channels over 6 x 6 pixels."""
    defaults: dict[str, Any] = {
        "channels": 32,
        "size": 6,
        "depth": 2,
        "num_heads": 4,
        "num_kv_heads": 2,
        "self_attention": True,
        "cross_attention": True,
        "qk_norm": "rms_norm",
        "rope": True,
        "feed_forward": "geglu",
        "hidden_channels": 96,
        "projection": "linear",
        "context_width": 24,
        "context_length": 7,
        "norm_groups": 8,
        "norm_replaces_self_attention": False,
    }
    return TransformerSpec(**defaults | changes)


def residual_spec(**changes: Any) -> ResidualSpec:
    """A residual block of 32 channels over 6 x 6 pixels."""
    defaults: dict[str, Any] = {
        "in_channels": 32,
        "skip_channels": 0,
        "hidden_channels": 32,
        "out_channels": 32,
        "size": 6,
        "time_width": 48,
        "convolution": "full",
        "kernel": 3,
        "norm_groups": 8,
    }
    return ResidualSpec(**defaults | changes)


_WITHOUT_TEXT: dict[str, Any] = {"cross_attention": False, "context_width": 0, "context_length": 0}
_WITHOUT_PIXELS: dict[str, Any] = {"self_attention": False, "rope": False}

EXAMPLE_SPECS: dict[str, BlockSpec] = {
    "conv": ConvSpec(in_channels=4, out_channels=32, size=6),
    "time_embedding": TimeEmbeddingSpec(in_width=32, out_width=48),
    "added_embedding_of_text": AddedEmbeddingSpec(pooled_text_width=20, num_size_ids=6, size_id_width=8, out_width=48),
    "added_embedding_of_sizes": AddedEmbeddingSpec(pooled_text_width=0, num_size_ids=2, size_id_width=8, out_width=48),
    "context_projection": ContextProjectionSpec(in_width=20, out_width=24, length=7, norm="none"),
    "context_projection_normed": ContextProjectionSpec(in_width=20, out_width=24, length=7, norm="rms_norm"),
    "residual": residual_spec(),
    "residual_with_skip": residual_spec(in_channels=80, skip_channels=16, kernel=5),
    "residual_separable": residual_spec(
        in_channels=64, skip_channels=32, hidden_channels=128, convolution="separable", kernel=7
    ),
    "transformer": transformer_spec(),
    "transformer_conv": transformer_spec(projection="conv", feed_forward="gelu", qk_norm="none", num_kv_heads=4),
    "transformer_bare": transformer_spec(projection="none", norm_groups=0, rope=False, num_kv_heads=1),
    "transformer_of_pixels": transformer_spec(**_WITHOUT_TEXT),
    "transformer_of_text": transformer_spec(**_WITHOUT_PIXELS),
    "transformer_of_text_normed": transformer_spec(**_WITHOUT_PIXELS, norm_replaces_self_attention=True),
    "transformer_feed_forward_only": transformer_spec(**_WITHOUT_TEXT, **_WITHOUT_PIXELS, qk_norm="none"),
    "downsample": DownsampleSpec(channels=32, size=6, convolution="full"),
    "downsample_separable": DownsampleSpec(channels=32, size=6, convolution="separable"),
    "upsample": UpsampleSpec(channels=32, size=6, convolution="full"),
    "upsample_separable": UpsampleSpec(channels=32, size=6, convolution="separable"),
    "norm_out": NormOutSpec(channels=32, size=6, norm_groups=8),
}
"""Every kind of block, every branch of it."""
