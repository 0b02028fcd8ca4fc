"""Published UNets as architectures, by name, and SnapGen's ablation ladder.

Sources: the diffusers configs of Stable Diffusion 1.5, 2.1 and XL, SSD-1B, BK-SDM and DreamLite; SnapGen (Hu et al.,
arXiv:2412.09619), of which no code is public. What the paper leaves open (the middle, samplers, hidden width of a
separable convolution, projections, the width of the time embedding) is set here to what meets its parameter counts and
ablation percentages best; `docs/snapgen-ladder.md` shows how well.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from search_space.arch import (
    ArchConfig,
    AttentionConfig,
    ConvolutionConfig,
    FeedForwardConfig,
    PathConfig,
    StageConfig,
    canonical,
)
from search_space.diffusers_config import from_diffusers_config
from search_space.errors import UsageError

_SDXL_CONFIG: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}

_SD15_CONFIG: dict[str, Any] = {"sample_size": 64, "cross_attention_dim": 768}

_BK_SDM_CONFIG: dict[str, Any] = _SD15_CONFIG | {"layers_per_block": 1}

_BK_SDM_TINY_CONFIG: dict[str, Any] = _BK_SDM_CONFIG | {
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["CrossAttnDownBlock2D"] * 3,
    "up_block_types": ["CrossAttnUpBlock2D"] * 3,
    "mid_block_type": None,
}

_DREAMLITE_CONFIG: dict[str, Any] = {
    "_class_name": "DreamLiteUNetModel",
    "sample_size": 128,
    "block_out_channels": [256, 512, 896],
    "transformer_layers_per_block": [1, 2, 4],
    "attention_head_dim": [4, 8, 14],
    "ff_mult": 3,
    "cross_attention_dim": 2304,
    "encoder_hid_dim": 2048,
    "encoder_hid_dim_type": "text_proj_rms",
    "use_linear_projection": True,
    "addition_embed_type": "time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 512,
}


def sd15() -> ArchConfig:
    """Stable Diffusion 1.5."""
    return from_diffusers_config(_SD15_CONFIG)


def sd21() -> ArchConfig:
    """Stable Diffusion 2.1, 768 px."""
    return from_diffusers_config(
        {
            "sample_size": 96,
            "cross_attention_dim": 1024,
            "attention_head_dim": [5, 10, 20, 20],
            "use_linear_projection": True,
        }
    )


def sdxl() -> ArchConfig:
    """Stable Diffusion XL base 1.0."""
    return from_diffusers_config(_SDXL_CONFIG)


def ssd1b() -> ArchConfig:
    """Segmind's SSD-1B, a pruned SDXL whose transformers differ from position to position."""
    return from_diffusers_config(
        _SDXL_CONFIG
        | {
            "mid_block_type": "UNetMidBlock2D",
            "transformer_layers_per_block": [1, [2, 2], [4, 4]],
            "reverse_transformer_layers_per_block": [[4, 4, 10], [2, 1, 1], 1],
        }
    )


def bk_sdm_base() -> ArchConfig:
    """BK-SDM-Base (Kim et al., arXiv:2305.15798): one residual block less on every path of SD 1.4."""
    return from_diffusers_config(_BK_SDM_CONFIG)


def bk_sdm_small() -> ArchConfig:
    """BK-SDM-Small: BK-SDM-Base without a middle."""
    return from_diffusers_config(_BK_SDM_CONFIG | {"mid_block_type": None})


def bk_sdm_tiny() -> ArchConfig:
    """BK-SDM-Tiny: BK-SDM-Small without its lowest stage."""
    return from_diffusers_config(_BK_SDM_TINY_CONFIG)


def dreamlite() -> ArchConfig:
    """ByteDance's DreamLite (arXiv:2603.28713), the public network closest to SnapGen's."""
    return from_diffusers_config(_DREAMLITE_CONFIG)


def snapgen_imagenet() -> ArchConfig:
    """SnapGen for ImageNet-1K: class names through CLIP-L, 372 M parameters in the paper."""
    return snapgen_ladder()[-1][1]


def snapgen_t2i() -> ArchConfig:
    """SnapGen for text to image: two CLIPs and Gemma-2-2b as context, 379 M parameters in the paper."""
    return dataclasses.replace(snapgen_imagenet(), context_width=2304)


REFERENCES: dict[str, Callable[[], ArchConfig]] = {
    reference.__name__: reference
    for reference in (
        sd15,
        sd21,
        sdxl,
        ssd1b,
        bk_sdm_base,
        bk_sdm_small,
        bk_sdm_tiny,
        dreamlite,
        snapgen_imagenet,
        snapgen_t2i,
    )
}
"""Name -> architecture."""


def reference(name: str) -> ArchConfig:
    """A published architecture by its name.

    Raises:
        UsageError: There is no such reference.
    """
    if name not in REFERENCES:
        raise UsageError(f"no reference architecture is called {name!r}", allowed=", ".join(REFERENCES))
    return REFERENCES[name]()


def snapgen_ladder() -> tuple[tuple[str, ArchConfig], ...]:
    """SnapGen's ablation (Table 1 of the paper) at 1024 px: a title and the architecture of each step."""
    full, once, twice = (
        ConvolutionConfig(),
        ConvolutionConfig(kind="separable"),
        ConvolutionConfig(kind="separable", expansion=2, hidden_width="max"),
    )
    return (
        ("0 baseline", _snapgen(depths=(0, 2, 4), everywhere=True, convolution=full, ffn=4, mqa=False)),
        (
            "1 self-attention only at the lowest resolution",
            _snapgen(depths=(0, 2, 4), convolution=full, ffn=4, mqa=False),
        ),
        ("2a separable convolutions, expansion 1", _snapgen(depths=(0, 2, 4), convolution=once, ffn=4, mqa=False)),
        ("2b separable convolutions, expansion 2", _snapgen(depths=(0, 2, 4), convolution=twice, ffn=4, mqa=False)),
        ("3 feed-forward expansion 3", _snapgen(depths=(0, 2, 4), convolution=twice, ffn=3, mqa=False)),
        ("4 one key/value head", _snapgen(depths=(0, 2, 4), convolution=twice, ffn=3, mqa=True)),
        ("5 cross-attention at the highest resolution", _snapgen(depths=(1, 2, 4), convolution=twice, ffn=3, mqa=True)),
        (
            "6 QK-RMSNorm and RoPE",
            _snapgen(depths=(1, 2, 4), convolution=twice, ffn=3, mqa=True, qk_norm_and_rope=True),
        ),
    )


def _snapgen(
    *,
    depths: tuple[int, int, int],
    convolution: ConvolutionConfig,
    ffn: int,
    mqa: bool,
    everywhere: bool = False,
    qk_norm_and_rope: bool = False,
) -> ArchConfig:
    """One step of the ladder; `everywhere`: self-attention wherever there are transformer blocks."""

    def stage(index: int, channels: int, depth: int) -> StageConfig:
        attends_itself = everywhere or index == 2
        return StageConfig(
            channels=channels,
            down=PathConfig(transformer_depths=(depth,) * 2, self_attention=attends_itself, cross_attention=True),
            up=PathConfig(transformer_depths=(depth,) * 3, self_attention=attends_itself, cross_attention=True),
            convolution=convolution,
            attention=AttentionConfig(
                head_dim=64,
                num_kv_heads=1 if mqa else channels // 64,
                qk_norm="rms_norm" if qk_norm_and_rope else "none",
                rope=qk_norm_and_rope,
            ),
            feed_forward=FeedForwardConfig(expansion=ffn),
        )

    return canonical(
        ArchConfig(
            stages=tuple(stage(index, *shape) for index, shape in enumerate(zip((256, 512, 896), depths, strict=True))),
            mid=PathConfig(transformer_depths=(2,), self_attention=True, cross_attention=True),
            downsampler=convolution.kind,
            upsampler=convolution.kind,
            projection="linear",
            time_embedding_width=1024,
            context_width=768,
            in_channels=16,
            out_channels=16,
            sample_size=128,
        )
    )
