"""Two UNets that run in milliseconds: one that diffusers can express, one that only SnapNAS can."""

import torch

from search_space.arch import (
    ArchConfig,
    AttentionConfig,
    ConvolutionConfig,
    FeedForwardConfig,
    PathConfig,
    StageConfig,
)
from search_space.unet import UNet

PLAIN = ConvolutionConfig()
SEPARABLE = ConvolutionConfig(kind="separable", kernel=5, expansion=2)


def standard_arch() -> ArchConfig:
    """Two stages with the layout of Stable Diffusion."""
    attention = AttentionConfig(head_dim=8, num_kv_heads=4)
    with_text = {"self_attention": True, "cross_attention": True}
    stages = tuple(
        StageConfig(
            channels=32,
            down=PathConfig(transformer_depths=(depth,), **(with_text if depth else {})),
            up=PathConfig(transformer_depths=(depth, depth), **(with_text if depth else {})),
            convolution=PLAIN,
            attention=attention,
            feed_forward=FeedForwardConfig(),
        )
        for depth in (0, 1)
    )
    return ArchConfig(
        stages=stages,
        mid=PathConfig(transformer_depths=(1, 0), **with_text),
        time_embedding_width=64,
        context_width=16,
        context_length=5,
        norm_groups=8,
        sample_size=8,
    )


def own_arch() -> ArchConfig:
    """Separable convolutions, MQA with RMSNorm and RoPE, plain GELU: what a UNet2DConditionModel cannot say."""
    stages = tuple(
        StageConfig(
            channels=32,
            down=PathConfig(transformer_depths=(1,), self_attention=has_self_attention, cross_attention=True),
            up=PathConfig(transformer_depths=(0, 1), self_attention=has_self_attention, cross_attention=True),
            convolution=SEPARABLE,
            attention=AttentionConfig(head_dim=8, num_kv_heads=1, qk_norm="rms_norm", rope=True),
            feed_forward=FeedForwardConfig(kind="gelu", expansion=3),
        )
        for has_self_attention in (False, True)
    )
    return ArchConfig(
        stages=stages,
        mid=PathConfig(transformer_depths=(0, 1), self_attention=True),
        downsampler="separable",
        upsampler="separable",
        projection="linear",
        time_embedding_width=64,
        context_width=16,
        context_length=5,
        norm_groups=8,
        sample_size=8,
    )


def textless_arch() -> ArchConfig:
    """One stage without any attention, which reads no text."""
    stage = StageConfig(
        channels=16,
        down=PathConfig(transformer_depths=(0,)),
        up=PathConfig(transformer_depths=(0, 0)),
        convolution=PLAIN,
        attention=AttentionConfig(head_dim=8, num_kv_heads=1),
        feed_forward=FeedForwardConfig(),
    )
    return ArchConfig(
        stages=(stage,),
        mid=PathConfig(transformer_depths=()),
        time_embedding_width=32,
        context_width=16,
        norm_groups=8,
        sample_size=8,
    )


def small_unet(arch: ArchConfig) -> UNet:
    """The network with weights from a fixed seed."""
    torch.manual_seed(0)
    return UNet(arch).eval()
