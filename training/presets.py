"""Settings that were measured to work, for recipes to name: the tiny scale of a laptop without a GPU.

How they were found, with figures and failures, is in `docs/log.md`. Imports no torch.
"""

from search_space.arch import ArchConfig, AttentionConfig, ConvolutionConfig, FeedForwardConfig, PathConfig, StageConfig
from training.config import (
    DistillationConfig,
    SamplingConfig,
    SpaceToDepthConfig,
    TeacherConfig,
    TextEncoderConfig,
    TrainingConfig,
)

TINY_TEXT_ENCODER = TextEncoderConfig()
"""For the 96-wide context of the tiny space."""

TINY_SAMPLING = SamplingConfig(steps=32, guidance=2.5, timestep_shift=2.0, renewal=1.0)
"""All noise is drawn anew at every step: a model trained for minutes decides wrongly at first, and may take it back."""

TINY_SCENES_CODEC = SpaceToDepthConfig(factor=2, mean=0.74, standard_deviation=0.42)
"""What `training.latents.fitted_codec` finds for `scenes`."""

TINY_TEACHER_TRAINING = TrainingConfig(
    num_steps=1000,
    max_duration_s=80.0,
    batch_size=32,
    ema_decay=0.99,
    optimizer="muon",
    learning_rate=6e-3,
    timestep_shift=4.0,
    prediction="image",
    precision="auto",
)
"""At most 80 s; a faster machine ends earlier."""

TINY_WINNER_TRAINING = TrainingConfig(
    num_steps=2000,
    max_duration_s=300.0,
    batch_size=32,
    ema_decay=0.99,
    optimizer="muon",
    learning_rate=6e-3,
    timestep_shift=4.0,
    prediction="image",
    precision="auto",
    distillation=DistillationConfig(output_weight=1.0, timestep_aware=True, until_fraction=0.1),
)
"""At most five minutes; the teacher is followed only at first, since the student soon overtakes it."""

TINY_PROXY_TRAINING = TrainingConfig(
    num_steps=40,
    batch_size=16,
    optimizer="muon",
    learning_rate=8e-3,
    warm_up_steps=10,
    timestep_shift=4.0,
    prediction="image",
    precision="auto",
    distillation=DistillationConfig(output_weight=1.0, timestep_aware=True),
)
"""About ten seconds a candidate on two cores."""


def tiny_teacher_arch(*, num_latent_channels: int = 12, sample_size: int = 16) -> ArchConfig:
    """The largest of the tiny space's widths, one residual block a stage, attention wherever the tiny space has it."""
    return ArchConfig(
        stages=(
            _stage(48, self_attention=False),
            _stage(96, self_attention=True),
            _stage(128, self_attention=True),
        ),
        mid=PathConfig(transformer_depths=(0,)),
        projection="linear",
        time_embedding_width=128,
        context_width=96,
        context_length=16,
        norm_groups=16,
        in_channels=num_latent_channels,
        out_channels=num_latent_channels,
        sample_size=sample_size,
    )


def tiny_teacher(codec: SpaceToDepthConfig) -> TeacherConfig:
    """The teacher of the tiny scale, for data whose latents that codec makes."""
    return TeacherConfig(
        arch=tiny_teacher_arch(), text_encoder=TINY_TEXT_ENCODER, codec=codec, training=TINY_TEACHER_TRAINING
    )


def _stage(channels: int, *, self_attention: bool) -> StageConfig:
    path = PathConfig(transformer_depths=(1,), self_attention=self_attention, cross_attention=True)
    return StageConfig(
        channels=channels,
        down=path,
        up=path,
        convolution=ConvolutionConfig(kind="full"),
        attention=AttentionConfig(head_dim=16, num_kv_heads=channels // 16, qk_norm="rms_norm"),
        feed_forward=FeedForwardConfig(kind="geglu", expansion=2),
    )
