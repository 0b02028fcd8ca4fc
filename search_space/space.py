"""A search space: which choices are offered for every decision, and how a set of decisions becomes an architecture.

Only decisions that matter come up (a head dimension only where there is attention), so different decisions always mean
different networks: the size of a space is the exact number of its architectures, and sampling is uniform over them.
"""

import functools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from search_space.arch import (
    AddedConditioning,
    ArchConfig,
    AttentionConfig,
    ContextProjection,
    ConvolutionConfig,
    ConvolutionKind,
    FeedForwardConfig,
    FeedForwardKind,
    HiddenWidth,
    PathConfig,
    ProjectionKind,
    QKNorm,
    StageConfig,
    canonical,
)
from search_space.decisions import (
    NOTHING,
    All,
    Choice,
    Node,
    Value,
    choice,
    decide,
    decide_as,
    decide_uniformly,
    single_changes,
    variations,
)
from search_space.errors import UsageError
from search_space.specs import BlockSpec, spec_key
from search_space.walk import block_specs

if TYPE_CHECKING:
    import optuna

AttentionPlacement = Literal["cross", "self", "both"]
KVSharing = Literal["mha", "gqa", "mqa"]
"""Key/value heads: one for each query head, one for every two, one for all."""


@dataclass(frozen=True, kw_only=True)
class Interface:
    """What surrounds the network and cannot be searched: the latents it gets and the text it hears."""

    name: str
    """How the decision between interfaces calls it."""
    in_channels: int
    """Latent channels in."""
    out_channels: int
    """Latent channels out."""
    context_width: int
    """Channels of a text token."""
    context_length: int
    """Text tokens."""
    context_projection: ContextProjection | None = None
    """What the text passes first."""
    added_conditioning: AddedConditioning | None = None
    """What joins the time embedding."""


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


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Every choice that is offered; each combination of them is one architecture."""

    name: str
    """How recipes and commands call it."""
    stages: tuple[StageChoices, ...]
    """From the highest resolution to the lowest."""
    mid_layouts: tuple[tuple[int, ...], ...]
    """Transformer depths after each residual block of the middle; `()` is no middle."""
    downsamplers: tuple[ConvolutionKind, ...]
    """Convolutions between stages on the way down."""
    upsamplers: tuple[ConvolutionKind, ...]
    """Convolutions between stages on the way up."""
    projections: tuple[ProjectionKind, ...]
    """How pixels enter and leave a transformer."""
    time_embedding_widths: tuple[int, ...]
    """Widths of the time embedding."""
    interfaces: tuple[Interface, ...]
    """Surroundings on offer; a study usually fixes one."""
    norm_groups: int
    """Groups of every GroupNorm."""
    sample_size: int
    """Side of the latent."""

    def __post_init__(self) -> None:
        for index, stage in enumerate(self.stages):
            _require_distinct_sharing(index, stage)
            _require_distinct_hidden_widths(index, stage, self.stages[index - 1] if index else None)
        if not all(any(layout) for layout in self.mid_layouts) and not any(map(_always_hears_the_text, self.stages)):
            raise UsageError(
                f"search space {self.name!r} has architectures without cross-attention",
                allowed="a transformer in every middle, or a path that always has some and always attends to the text",
            )

    @functools.cached_property
    def tree(self) -> Node:
        """Every decision of this space, with what it opens."""
        last = len(self.stages) - 1
        layouts = {_layout_name(layout): layout for layout in self.mid_layouts}

        def with_mid(name: Value) -> Node:
            return _transformer_tree(last, self.stages[last], mid_has_transformer=any(layouts[str(name)]))

        return All(
            (
                choice("interface", [interface.name for interface in self.interfaces]),
                choice("time_embedding_width", self.time_embedding_widths),
                choice("projection", self.projections),
                *([choice("downsampler", self.downsamplers), choice("upsampler", self.upsamplers)] if last else []),
                *(_residual_tree(index, stage) for index, stage in enumerate(self.stages)),
                *(_transformer_tree(index, stage) for index, stage in enumerate(self.stages[:-1])),
                choice("mid.layout", list(layouts), with_mid),
            )
        )

    @property
    def size(self) -> int:
        """The exact number of different architectures."""
        return self.tree.size

    def interface(self, name: Value) -> Interface:
        """The interface of that name."""
        return next(interface for interface in self.interfaces if interface.name == name)


def suggest_arch(trial: "optuna.trial.BaseTrial", space: SearchSpace) -> ArchConfig:
    """The architecture of an Optuna trial; every decision between several options becomes a categorical parameter."""

    def choose(open_choice: Choice) -> Value:
        values = open_choice.values
        return values[0] if len(values) == 1 else trial.suggest_categorical(open_choice.name, values)  # type: ignore[return-value]

    return arch_from_decisions(space, decide(space.tree, choose))


def random_arch(space: SearchSpace, seed: int) -> ArchConfig:
    """An architecture drawn uniformly from the space; equal seeds, equal architectures."""
    return arch_from_decisions(space, decide_uniformly(space.tree, random.Random(seed)))


def neighbours(arch: ArchConfig, space: SearchSpace) -> tuple[ArchConfig, ...]:
    """Every architecture of the space that differs from this one in one decision.

    Raises:
        UsageError: The architecture is not in the space.
    """
    decisions = decisions_of(arch, space)
    return tuple(arch_from_decisions(space, changed) for changed in single_changes(space.tree, decisions))


def contains(space: SearchSpace, arch: ArchConfig) -> bool:
    """Whether some set of decisions of the space gives this network."""
    wanted = _wanted_decisions(arch, space)
    return arch_from_decisions(space, decide_as(space.tree, wanted)).arch_id == arch.arch_id


def decisions_of(arch: ArchConfig, space: SearchSpace) -> dict[str, Value]:
    """The decisions that give this architecture; the inverse of `arch_from_decisions`.

    Raises:
        UsageError: The architecture is not in the space.
    """
    if not contains(space, arch):
        raise UsageError(f"architecture {arch.arch_id} is not in the search space {space.name!r}")
    return decide_as(space.tree, _wanted_decisions(arch, space))


@functools.cache
def reachable_specs(space: SearchSpace) -> tuple[BlockSpec, ...]:
    """Every spec that some architecture of the space has, ordered by key.

    What a block is depends on few decisions: a residual block on the channels of its stage and its neighbours, on
    numbers of blocks and its convolution; a transformer on its path and what its stage shares. Varying each of these
    groups by itself reaches every spec.
    """
    found: set[BlockSpec] = set()
    for names in _spec_deciding_groups(space):
        for decisions in variations(space.tree, names):
            found.update(block_specs(_arch(space, decisions)))
    return tuple(sorted(found, key=spec_key))


def arch_from_decisions(space: SearchSpace, decisions: Mapping[str, Value]) -> ArchConfig:
    """The architecture, in canonical form, that a complete set of decisions stands for."""
    return canonical(_arch(space, decisions))


def _arch(space: SearchSpace, decisions: Mapping[str, Value]) -> ArchConfig:
    interface = space.interface(decisions["interface"])
    return ArchConfig(
        stages=tuple(_stage(index, stage, decisions) for index, stage in enumerate(space.stages)),
        mid=_mid(str(decisions["mid.layout"])),
        downsampler=decisions.get("downsampler", "full"),  # type: ignore[arg-type]
        upsampler=decisions.get("upsampler", "full"),  # type: ignore[arg-type]
        projection=decisions["projection"],  # type: ignore[arg-type]
        time_embedding_width=int(decisions["time_embedding_width"]),
        added_conditioning=interface.added_conditioning,
        context_projection=interface.context_projection,
        context_width=interface.context_width,
        context_length=interface.context_length,
        norm_groups=space.norm_groups,
        in_channels=interface.in_channels,
        out_channels=interface.out_channels,
        sample_size=space.sample_size,
    )


def _residual_tree(index: int, stage: StageChoices) -> Node:
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


def _transformer_tree(index: int, stage: StageChoices, *, mid_has_transformer: bool = False) -> Node:
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


def _stage(index: int, stage: StageChoices, decisions: Mapping[str, Value]) -> StageConfig:
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


def _mid(layout: str) -> PathConfig:
    depths = tuple(int(depth) for depth in layout.split("-")) if layout != "none" else ()
    return PathConfig(transformer_depths=depths, self_attention=any(depths), cross_attention=any(depths))


def _layout_name(layout: tuple[int, ...]) -> str:
    """`(1, 0)`, a residual block, a transformer block and a residual block, is called `1-0`."""
    return "-".join(map(str, layout)) or "none"


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


def _wanted_decisions(arch: ArchConfig, space: SearchSpace) -> dict[str, Value]:
    """What the space would have to decide to give this architecture, whether or not it offers it."""
    arch = canonical(arch)
    surroundings = ("in_channels", "out_channels", "context_width", "context_projection", "added_conditioning")
    fitting = (
        item.name for item in space.interfaces if all(getattr(item, f) == getattr(arch, f) for f in surroundings)
    )
    wanted: dict[str, Value] = {
        "interface": next(fitting, ""),
        "time_embedding_width": arch.time_embedding_width,
        "projection": arch.projection,
        "downsampler": arch.downsampler,
        "upsampler": arch.upsampler,
        "mid.layout": _layout_name(arch.mid.transformer_depths),
    }
    for index, stage in enumerate(arch.stages):
        wanted |= {f"stage{index}.{name}": value for name, value in _wanted_of_stage(stage).items()}
    return wanted


def _wanted_of_stage(stage: StageConfig) -> dict[str, Value]:
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


def _spec_deciding_groups(space: SearchSpace) -> list[set[str]]:
    """Sets of decisions such that every spec is decided by one of them."""
    everywhere = {"interface", "time_embedding_width"}
    groups = [everywhere | {"stage0.channels"}]
    for index in range(len(space.stages)):
        name = f"stage{index}"
        mid = {"mid.layout"} if index == len(space.stages) - 1 else set[str]()
        adjacent = {f"stage{near}.channels" for near in (index - 1, index, index + 1)}
        blocks = {f"{name}.down_blocks", f"{name}.up_blocks"}
        convolutions = {"convolution", "full_kernel", "separable_kernel", "separable_expansion", "hidden_width"}
        shared = {"head_dim", "kv_sharing", "qk_norm", "rope", "norm_replacement"}
        shared |= {"feed_forward", "feed_forward_expansion"}
        transformers = {"interface", "projection", f"{name}.channels"} | {f"{name}.{item}" for item in shared}
        groups.append({"time_embedding_width"} | mid | adjacent | blocks | {f"{name}.{item}" for item in convolutions})
        groups += [transformers | {f"{name}.{way}_depth", f"{name}.{way}_attention"} for way in ("down", "up")]
        groups.append(transformers | mid)
        groups.append({f"{name}.channels", "downsampler", "upsampler"})
    return groups


def _always_hears_the_text(stage: StageChoices) -> bool:
    return (0 not in stage.down_depths or 0 not in stage.up_depths) and "self" not in stage.attentions


def _require_distinct_sharing(index: int, stage: StageChoices) -> None:
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


def _require_distinct_hidden_widths(index: int, stage: StageChoices, above: StageChoices | None) -> None:
    """`in` and `max` differ only where a block widens its input, which only the first block on the way down can do."""
    if {"in", "max"} <= set(stage.hidden_widths) and (above is None or max(above.channels) >= min(stage.channels)):
        raise UsageError(
            f"stage {index} offers the hidden widths 'in' and 'max', which are the same there",
            allowed="both only where every width is larger than every width of the stage above",
        )
