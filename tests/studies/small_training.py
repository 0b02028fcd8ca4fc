"""A study so small that its winner is trained, scored and sampled in seconds."""

from pathlib import Path

from proxies.config import MacsProxyConfig
from search_space.arch import (
    ArchConfig,
    AttentionConfig,
    ConvolutionConfig,
    FeedForwardConfig,
    PathConfig,
    StageConfig,
)
from studies.config import StudyConfig
from studies.trained import TrainedWinner, train_winner
from training.config import (
    DistillationConfig,
    SamplingConfig,
    SpaceToDepthConfig,
    TeacherConfig,
    TextEncoderConfig,
    TrainingConfig,
)
from training.data.open_data import open_data
from training.teacher import load_or_train_teacher


def small_arch(channels: int = 16) -> ArchConfig:
    """Two stages on latents of 12 x 8 x 8, cross-attention at the lower one."""
    return ArchConfig(
        stages=tuple(
            StageConfig(
                channels=channels,
                down=PathConfig(transformer_depths=(depth,), cross_attention=bool(depth)),
                up=PathConfig(transformer_depths=(depth,), cross_attention=bool(depth)),
                convolution=ConvolutionConfig(kind="separable", kernel=3, expansion=2),
                attention=AttentionConfig(head_dim=8, num_kv_heads=1),
                feed_forward=FeedForwardConfig(kind="gelu", expansion=2),
            )
            for depth in (0, 1)
        ),
        mid=PathConfig(transformer_depths=()),
        time_embedding_width=32,
        context_width=16,
        context_length=8,
        norm_groups=8,
        in_channels=12,
        out_channels=12,
        sample_size=8,
    )


def small_config(*, num_steps: int = 6) -> StudyConfig:
    """Scenes of 16 x 16 pixels; output and feature distillation; a checkpoint at every other step."""
    training = TrainingConfig(num_steps=num_steps, batch_size=4, warm_up_steps=1, checkpoint_every_steps=2)
    return StudyConfig(
        recipe="small",
        space="tiny",
        data="scenes",
        image_size=16,
        device="exact",
        latency_budget=None,
        num_trials=2,
        proxy=MacsProxyConfig(),
        teacher=TeacherConfig(
            arch=small_arch(channels=24),
            text_encoder=TextEncoderConfig(num_buckets=64, head_dim=8),
            codec=SpaceToDepthConfig(factor=2),
            training=TrainingConfig(num_steps=2, batch_size=4),
        ),
        winner_training=TrainingConfig(
            **{**vars(training), "distillation": DistillationConfig(output_weight=1.0, feature_weight=1.0)}
        ),
        sampling=SamplingConfig(steps=2, guidance=2.0, renewal=0.6),
        num_score_prompts=6,
        num_grid_prompts=4,
    )


def train_small(folder: Path, *, workspace: Path, config: StudyConfig | None = None) -> TrainedWinner:
    """The small architecture, fully trained into `folder`."""
    config = config or small_config()
    data = open_data(config.data, image_size=config.image_size)
    teacher = load_or_train_teacher(data, config.teacher, workspace=workspace)
    return train_winner(small_arch(), config=config, teacher=teacher, data=data, folder=folder, workspace=workspace)
