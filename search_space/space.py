"""A search space: which choices are offered for every decision, and how a set of decisions becomes an architecture.

Only decisions that matter come up (a head dimension only where there is attention), so different decisions always mean
different networks: the size of a space is the exact number of its architectures, and sampling is uniform over them.
"""

import functools
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_space.arch import (
    AddedConditioning,
    ArchConfig,
    ContextProjection,
    ConvolutionKind,
    PathConfig,
    ProjectionKind,
    canonical,
)
from search_space.block_groups import block_groups
from search_space.decisions import (
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
from search_space.stage_choices import (
    StageChoices,
    always_hears_the_text,
    decisions_of_stage,
    require_distinct_hidden_widths,
    require_distinct_sharing,
    residual_tree,
    stage_from_decisions,
    transformer_tree,
)
from search_space.walk import block_specs

if TYPE_CHECKING:
    import optuna


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
            require_distinct_sharing(index, stage)
            require_distinct_hidden_widths(index, stage, self.stages[index - 1] if index else None)
        if not all(any(layout) for layout in self.mid_layouts) and not any(map(always_hears_the_text, self.stages)):
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
            return transformer_tree(last, self.stages[last], mid_has_transformer=any(layouts[str(name)]))

        return All(
            (
                choice("interface", [interface.name for interface in self.interfaces]),
                choice("time_embedding_width", self.time_embedding_widths),
                choice("projection", self.projections),
                *([choice("downsampler", self.downsamplers), choice("upsampler", self.upsamplers)] if last else []),
                *(residual_tree(index, stage) for index, stage in enumerate(self.stages)),
                *(transformer_tree(index, stage) for index, stage in enumerate(self.stages[:-1])),
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


def distinct_archs(space: SearchSpace, num_archs: int, seed: int) -> list[ArchConfig]:
    """The first so many different architectures of consecutive seeds; a small space may hold fewer."""
    found: dict[str, ArchConfig] = {}
    for offset in range(10 * num_archs):
        arch = random_arch(space, seed + offset)
        found.setdefault(arch.arch_id, arch)
        if len(found) == num_archs:
            break
    return list(found.values())


def neighbours(arch: ArchConfig, space: SearchSpace) -> tuple[ArchConfig, ...]:
    """Every architecture of the space that differs from this one in one decision.

    Raises:
        UsageError: The architecture is not in the space.
    """
    decisions = decisions_of(arch, space)
    return tuple(arch_from_decisions(space, changed) for changed in single_changes(space.tree, decisions))


def contains(space: SearchSpace, arch: ArchConfig) -> bool:
    """Whether some set of decisions of the space gives this network."""
    network = canonical(arch)
    return arch_from_decisions(space, decide_as(space.tree, _wanted_decisions(network, space))) == network


def decisions_of(arch: ArchConfig, space: SearchSpace) -> dict[str, Value]:
    """The decisions that give this architecture; the inverse of `arch_from_decisions`.

    Raises:
        UsageError: The architecture is not in the space.
    """
    if not contains(space, arch):
        raise UsageError(f"architecture {arch.arch_id} is not in the search space {space.name!r}")
    return decide_as(space.tree, _wanted_decisions(canonical(arch), space))


@functools.cache
def reachable_specs(space: SearchSpace) -> tuple[BlockSpec, ...]:
    """Every spec that some architecture of the space has, ordered by key.

    What a block is depends on few decisions, so varying those of each group of blocks by themselves reaches every spec.
    """
    found: set[BlockSpec] = set()
    for group in block_groups(len(space.stages)):
        for decisions in variations(space.tree, set(group.decisions)):
            found.update(block_specs(_arch(space, decisions)))
    return tuple(sorted(found, key=spec_key))


def arch_from_decisions(space: SearchSpace, decisions: Mapping[str, Value]) -> ArchConfig:
    """The architecture, in canonical form, that a complete set of decisions stands for."""
    return canonical(_arch(space, decisions))


def _arch(space: SearchSpace, decisions: Mapping[str, Value]) -> ArchConfig:
    interface = space.interface(decisions["interface"])
    return ArchConfig(
        stages=tuple(stage_from_decisions(index, stage, decisions) for index, stage in enumerate(space.stages)),
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


def _wanted_decisions(arch: ArchConfig, space: SearchSpace) -> dict[str, Value]:
    """What the space would have to decide to give this canonical architecture, whether or not it offers it."""
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
        wanted |= {f"stage{index}.{name}": value for name, value in decisions_of_stage(stage).items()}
    return wanted


def _mid(layout: str) -> PathConfig:
    depths = tuple(int(depth) for depth in layout.split("-")) if layout != "none" else ()
    return PathConfig(transformer_depths=depths, self_attention=any(depths), cross_attention=any(depths))


def _layout_name(layout: tuple[int, ...]) -> str:
    """`(1, 0)`, a residual block, a transformer block and a residual block, is called `1-0`."""
    return "-".join(map(str, layout)) or "none"
