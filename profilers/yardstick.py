"""One fixed network that every campaign of networks measures along, so that two campaigns say the same.

The sentinel follows the machine from moment to moment. But whatever else runs on a machine slows a network otherwise
than it slows one block, and campaigns of the same networks came out up to 4 % apart as a whole. So the yardstick is
measured once on every device, as a row of the table like any other, before the first other network; and in every later
round networks are divided by how slow the yardstick is in it, beyond what the sentinel says.
"""

import math
import statistics
from collections.abc import Sequence

from profilers.subject import Subject
from search_space.arch import (
    ArchConfig,
    AttentionConfig,
    ConvolutionConfig,
    FeedForwardConfig,
    PathConfig,
    StageConfig,
)


def _stage(channels: int, *, depth: int, self_attention: bool) -> StageConfig:
    path = PathConfig(transformer_depths=(depth,), self_attention=self_attention, cross_attention=bool(depth))
    return StageConfig(
        channels=channels,
        down=path,
        up=path,
        convolution=ConvolutionConfig(kind="separable", expansion=2),
        attention=AttentionConfig(head_dim=16, num_kv_heads=1),
        feed_forward=FeedForwardConfig(expansion=2),
    )


YARDSTICK = Subject.of_network(
    ArchConfig(
        stages=(
            _stage(32, depth=0, self_attention=False),
            _stage(64, depth=1, self_attention=True),
            _stage(96, depth=1, self_attention=True),
        ),
        mid=PathConfig(transformer_depths=(1, 0), self_attention=True, cross_attention=True),
        projection="linear",
        time_embedding_width=128,
        context_width=96,
        context_length=16,
        norm_groups=16,
        in_channels=12,
        out_channels=12,
        sample_size=16,
    )
)
"""A network of separable convolutions and attention, many short operations: one of two full convolutions, which spends
its time in long ones, was slowed less than the networks beside it."""


def is_due(position: int, num_networks: int, num_yardsticks: int) -> bool:
    """Whether the yardstick comes before the network at `position`, so that it comes about `num_yardsticks` times."""
    return position % math.ceil(num_networks / num_yardsticks) == 0


def slowness(ratios: Sequence[float], *, yardstick_ms: float, sentinel_ms: float) -> float:
    """By what factor the yardstick is slower in a round than the sentinel says.

    Args:
        ratios: The yardstick's milliseconds over the sentinel's, right before, at every look.
        yardstick_ms: The yardstick's row.
        sentinel_ms: The sentinel's reference, which that row is relative to.
    """
    return statistics.median(ratios) * sentinel_ms / yardstick_ms
