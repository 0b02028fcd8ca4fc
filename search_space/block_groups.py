"""Which decisions of a search space decide which blocks of its networks.

What a block is depends on few decisions: a residual block on the widths of its stage and its neighbours, on numbers of
blocks and on the convolution; a transformer on its path and on what its stage shares. So every block that a space can
have is found by varying the decisions of one group at a time, and a network's latency is a sum of one number for each
group. A decision that is added to `stage_choices.py` or `space.py` is added here to the groups that it decides.
"""

from collections.abc import Iterator
from dataclasses import dataclass

_SHARED = ("head_dim", "kv_sharing", "qk_norm", "rope", "norm_replacement", "feed_forward", "feed_forward_expansion")
_CONVOLUTION = ("convolution", "full_kernel", "separable_kernel", "separable_expansion", "hidden_width")


@dataclass(frozen=True, kw_only=True)
class BlockGroup:
    """Blocks that the same decisions decide."""

    prefixes: tuple[str, ...]
    """How the names of these blocks begin; empty for the blocks that belong to no other group."""
    decisions: tuple[str, ...]
    """What decides them; a space need not have all of these decisions."""
    repeated_by: str | None = None
    """The decision that says how often they stand there, all alike; None: the decisions above decide that too."""


def block_groups(num_stages: int) -> tuple[BlockGroup, ...]:
    """The groups of a space; the last takes what is left: the first and last layers and the embeddings."""
    return tuple(_block_groups(num_stages))


def _block_groups(num_stages: int) -> Iterator[BlockGroup]:
    last = num_stages - 1
    for index in range(num_stages):
        stage, down, up = f"stage{index}", f"down_blocks.{index}", f"up_blocks.{last - index}"
        near = [f"stage{other}.channels" for other in (index - 1, index, index + 1)]
        blocks = [f"{stage}.down_blocks", f"{stage}.up_blocks"]
        shared = [f"{stage}.{name}" for name in _SHARED]
        around = ["interface", "projection", f"{stage}.channels"]
        mid = ["mid.layout"] if index == last else []
        yield BlockGroup(
            prefixes=(f"{down}.resnets", f"{up}.resnets", *(["mid_block.resnets"] if mid else [])),
            decisions=("time_embedding_width", *near, *blocks, *mid, *(f"{stage}.{name}" for name in _CONVOLUTION)),
        )
        for way, name in (("down", down), ("up", up)):
            yield BlockGroup(
                prefixes=(f"{name}.attentions",),
                decisions=(*around, f"{stage}.{way}_depth", f"{stage}.{way}_attention", *shared),
                repeated_by=f"{stage}.{way}_blocks",
            )
        if mid:
            yield BlockGroup(prefixes=("mid_block.attentions",), decisions=(*around, *mid, *shared))
        yield BlockGroup(
            prefixes=(f"{down}.downsamplers", f"{up}.upsamplers"),
            decisions=(f"{stage}.channels", "downsampler", "upsampler"),
        )
    yield BlockGroup(prefixes=(), decisions=("interface", "time_embedding_width", "stage0.channels"))
