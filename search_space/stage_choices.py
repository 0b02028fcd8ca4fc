"""What is offered for one stage of a search space: its decisions, and how they become a `StageConfig` and back.

Only decisions that matter come up: a head dimension only where there is a transformer, a rotation only where there is
self-attention. That is what makes different decisions different networks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from search_space.arch import (
    AttentionConfig,
    ConvolutionConfig,
    ConvolutionKind,
    FeedForwardConfig,
    FeedForwardKind,
    HiddenWidth,
    PathConfig,
    QKNorm,
    StageConfig,
)
from search_space.decisions import NOTHING, All, Node, Value, choice
from search_space.errors import UsageError

AttentionPlacement = Literal["cross", "self", "both"]
KVSharing = Literal["mha", "gqa", "mqa"]
"""Key/value heads: one for each query head, one for every two, one for all."""


@dataclass(frozen=True, kw_only=True)
class StageChoices:
    """What is offered for one stage."""

    channels: tuple[int, ...]
    """Widths."""
    down_blocks: tuple[int, ...]
    """Residual blocks on the way down."""
    up_blocks: tuple[int, ...]
    """Residual blocks on the way up."""
    down_depths: tuple[int, ...]
    """Transformer blocks after each residual block on the way down."""
    up_depths: tuple[int, ...]
    """Transformer blocks after each residual block on the way up."""
    attentions: tuple[AttentionPlacement, ...]
    """What the transformer blocks of a path attend to."""
    head_dims: tuple[int, ...]
    """Channels of a head."""
    kv_sharings: tuple[KVSharing, ...]
    """How query heads share key/value heads."""
    qk_norms: tuple[QKNorm, ...] = ("none",)
    """Norms over queries and keys."""
    ropes: tuple[bool, ...] = (False,)
    """Rotary position embedding in self-attention, or none."""
    norm_replacements: tuple[bool, ...] = (False,)
    """Whether a transformer block without self-attention normalises its residual stream."""
    feed_forward_kinds: tuple[FeedForwardKind, ...] = ("geglu",)
    """Gated or plain feed-forward layers."""
    feed_forward_expansions: tuple[int, ...]
    """Their hidden widths."""
    convolutions: tuple[ConvolutionKind, ...]
    """Convolutions of the residual blocks."""
    full_kernels: tuple[int, ...] = (3,)
    """Kernels of full convolutions."""
    separable_kernels: tuple[int, ...] = (3,)
    """Depthwise kernels of separable convolutions."""
    separable_expansions: tuple[int, ...] = (2,)
    """Expansions of separable convolutions."""
    hidden_widths: tuple[HiddenWidth, ...] = ("out",)
    """What the expansion multiplies."""


def residual_tree(index: int, stage: StageChoices) -> Node:
    """The decisions about a stage's residual blocks."""

    def convolution(kind: Value) -> Node:
        if kind == "full":
            return choice(f"stage{index}.full_kernel", stage.full_kernels)
        return All(
            (
                choice(f"stage{index}.separable_kernel", stage.separable_kernels),
                choice(f"stage{index}.separable_expansion", stage.separable_expansions),
                choice(f"stage{index}.hidden_width", stage.hidden_widths),
            )
        )

    return All(
        (
            choice(f"stage{index}.channels", stage.channels),
            choice(f"stage{index}.down_blocks", stage.down_blocks),
            choice(f"stage{index}.up_blocks", stage.up_blocks),
            choice(f"stage{index}.convolution", stage.convolutions, convolution),
        )
    )


def transformer_tree(index: int, stage: StageChoices, *, mid_has_transformer: bool = False) -> Node:
    """Depths and attention of both ways of a stage, then whatever its transformers share."""
    placed = ("both",) if mid_has_transformer else ()

    def after_down(down: tuple[str, ...]) -> Node:
        return _depth_tree(f"stage{index}.up", stage.up_depths, stage.attentions, lambda up: after_up((*down, *up)))

    def after_up(placements: tuple[str, ...]) -> Node:
        return _shared_tree(index, stage, (*placements, *placed))

    return _depth_tree(f"stage{index}.down", stage.down_depths, stage.attentions, after_down)


def _depth_tree(
    name: str, depths: tuple[int, ...], attentions: tuple[str, ...], then: Callable[[tuple[str, ...]], Node]
) -> Node:
    def placement(depth: Value) -> Node:
        if depth == 0:
            return then(())
        return choice(f"{name}_attention", attentions, lambda attention: then((str(attention),)))

    return choice(f"{name}_depth", depths, placement)


def _shared_tree(index: int, stage: StageChoices, placements: tuple[str, ...]) -> Node:
    """What every transformer of a stage shares, given what each of its paths attends to."""
    if not placements:
        return NOTHING
    parts = [
        choice(f"stage{index}.head_dim", stage.head_dims),
        choice(f"stage{index}.kv_sharing", stage.kv_sharings),
        choice(f"stage{index}.qk_norm", stage.qk_norms),
        choice(f"stage{index}.feed_forward", stage.feed_forward_kinds),
        choice(f"stage{index}.feed_forward_expansion", stage.feed_forward_expansions),
    ]
    if any(placement != "cross" for placement in placements):
        parts.append(choice(f"stage{index}.rope", stage.ropes))
    if "cross" in placements:
        parts.append(choice(f"stage{index}.norm_replacement", stage.norm_replacements))
    return All(tuple(parts))


def stage_from_decisions(index: int, stage: StageChoices, decisions: Mapping[str, Value]) -> StageConfig:
    """The stage that a complete set of decisions stands for."""
    name = f"stage{index}"
    channels = int(decisions[f"{name}.channels"])
    head_dim = int(decisions.get(f"{name}.head_dim", stage.head_dims[0]))
    return StageConfig(
        channels=channels,
        down=_path(f"{name}.down", decisions),
        up=_path(f"{name}.up", decisions),
        convolution=_convolution(name, decisions),
        attention=AttentionConfig(
            head_dim=head_dim,
            num_kv_heads=num_kv_heads(decisions.get(f"{name}.kv_sharing", "mqa"), channels // head_dim),
            qk_norm=decisions.get(f"{name}.qk_norm", "none"),  # type: ignore[arg-type]
            rope=bool(decisions.get(f"{name}.rope", False)),
        ),
        feed_forward=FeedForwardConfig(
            kind=decisions.get(f"{name}.feed_forward", "geglu"),  # type: ignore[arg-type]
            expansion=int(decisions.get(f"{name}.feed_forward_expansion", 4)),
        ),
        norm_replaces_self_attention=bool(decisions.get(f"{name}.norm_replacement", False)),
    )


def _path(name: str, decisions: Mapping[str, Value]) -> PathConfig:
    attention = decisions.get(f"{name}_attention")
    return PathConfig(
        transformer_depths=(int(decisions[f"{name}_depth"]),) * int(decisions[f"{name}_blocks"]),
        self_attention=attention in ("self", "both"),
        cross_attention=attention in ("cross", "both"),
    )


def _convolution(name: str, decisions: Mapping[str, Value]) -> ConvolutionConfig:
    if decisions[f"{name}.convolution"] == "full":
        return ConvolutionConfig(kernel=int(decisions[f"{name}.full_kernel"]))
    return ConvolutionConfig(
        kind="separable",
        kernel=int(decisions[f"{name}.separable_kernel"]),
        expansion=int(decisions[f"{name}.separable_expansion"]),
        hidden_width=decisions[f"{name}.hidden_width"],  # type: ignore[arg-type]
    )


def num_kv_heads(sharing: Value, num_heads: int) -> int:
    """Key/value heads of `num_heads` query heads that share them in this way."""
    match sharing:
        case "mha":
            return num_heads
        case "gqa":
            return num_heads // 2
        case "mqa":
            return 1
        case _:
            raise UsageError(f"no such sharing of key/value heads: {sharing!r}", allowed="mha, gqa, mqa")


def decisions_of_stage(stage: StageConfig) -> dict[str, Value]:
    """What would have to be decided to give this stage, whether or not it is on offer."""
    sharings = ("mha", "mqa", "gqa")
    fitting = (s for s in sharings if num_kv_heads(s, stage.num_heads) == stage.attention.num_kv_heads)
    return {
        "channels": stage.channels,
        "down_blocks": len(stage.down.transformer_depths),
        "up_blocks": len(stage.up.transformer_depths),
        "down_depth": stage.down.transformer_depths[0],
        "up_depth": stage.up.transformer_depths[0],
        "down_attention": _placement(stage.down),
        "up_attention": _placement(stage.up),
        "head_dim": stage.attention.head_dim,
        "kv_sharing": next(fitting, ""),
        "qk_norm": stage.attention.qk_norm,
        "rope": stage.attention.rope,
        "norm_replacement": stage.norm_replaces_self_attention,
        "feed_forward": stage.feed_forward.kind,
        "feed_forward_expansion": stage.feed_forward.expansion,
        "convolution": stage.convolution.kind,
        "full_kernel": stage.convolution.kernel,
        "separable_kernel": stage.convolution.kernel,
        "separable_expansion": stage.convolution.expansion,
        "hidden_width": stage.convolution.hidden_width,
    }


def _placement(path: PathConfig) -> str:
    return "both" if path.self_attention and path.cross_attention else "self" if path.self_attention else "cross"


def always_hears_the_text(stage: StageChoices) -> bool:
    """Whether every choice for this stage has a path that attends to the text."""
    return (0 not in stage.down_depths or 0 not in stage.up_depths) and "self" not in stage.attentions


def require_distinct_sharing(index: int, stage: StageChoices) -> None:
    """Two ways of sharing that give the same number of key/value heads would be one network counted twice."""
    # Checked here, because a decision that is offered for some widths only could not be one Optuna parameter.
    for channels in stage.channels:
        for head_dim in stage.head_dims:
            if channels % head_dim:
                raise UsageError(
                    f"stage {index} offers head_dim {head_dim} for {channels} channels",
                    allowed="divisors of every width",
                )
            heads = [num_kv_heads(sharing, channels // head_dim) for sharing in stage.kv_sharings]
            is_divided = all(number and channels // head_dim % number == 0 for number in heads)
            if len(set(heads)) < len(heads) or not is_divided:
                raise UsageError(
                    f"stage {index} offers {', '.join(stage.kv_sharings)} for {channels // head_dim} heads",
                    allowed="ways of sharing that give different numbers of key/value heads",
                )


def require_distinct_hidden_widths(index: int, stage: StageChoices, above: StageChoices | None) -> None:
    """`in` and `max` differ only where a block widens its input, which only the first block on the way down can do."""
    if {"in", "max"} <= set(stage.hidden_widths) and (above is None or max(above.channels) >= min(stage.channels)):
        raise UsageError(
            f"stage {index} offers the hidden widths 'in' and 'max', which are the same there",
            allowed="both only where every width is larger than every width of the stage above",
        )
