"""The one walk: an architecture as the list of its blocks, in the order in which they run.

The builder, the counters, the latency estimate and the dashboard all read this list, so they cannot disagree. A block's
name is the path of its module, as in diffusers' `UNet2DConditionModel`. This file imports no torch.

Skips: every stage collects, at its own resolution, what enters it (the first convolution or the downsampler above) and
what each of its residual blocks (or the transformer behind it) gives. On the way up its residual blocks take them,
newest first; a block that finds none left runs without, and what nobody takes is dropped. With one residual block more
on the way up than down, as in every published network, that is the usual stack of skips.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from search_space.arch import ArchConfig, PathConfig, StageConfig
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


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedBlock:
    """One block of an architecture, where it stands."""

    name: str
    """Path of its module."""
    spec: BlockSpec
    """What it is."""
    skip_from: str | None = None
    """Name of the block whose output is concatenated to its input."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Skip:
    """An output on the way down that waits for the way up."""

    name: str
    channels: int


def walk(arch: ArchConfig) -> tuple[PlacedBlock, ...]:
    """Every block of the network, in the order in which they run."""
    return tuple(_walk(arch))


def block_specs(arch: ArchConfig) -> tuple[BlockSpec, ...]:
    """The spec of every block of the network, in the order in which they run."""
    return tuple(block.spec for block in _walk(arch))


def _walk(arch: ArchConfig) -> Iterator[PlacedBlock]:
    yield from _embeddings(arch)

    channels = arch.stages[0].channels
    yield PlacedBlock(
        name="conv_in",
        spec=ConvSpec(in_channels=arch.in_channels, out_channels=channels, size=arch.sample_size),
    )
    entering = _Skip(name="conv_in", channels=channels)
    skips_of_stage: list[list[_Skip]] = []

    for index, stage in enumerate(arch.stages):
        skips = [entering]
        path_name, size = f"down_blocks.{index}", arch.size_at(index)
        for block in _path(arch, stage, stage.down, path_name, size=size, channels=channels, skips=[]):
            if block.name.startswith(f"{path_name}.attentions"):
                skips.pop()
            skips.append(_Skip(name=block.name, channels=stage.channels))
            yield block
        channels = stage.channels
        skips_of_stage.append(skips)
        if index < len(arch.stages) - 1:
            name = f"{path_name}.downsamplers.0"
            yield PlacedBlock(
                name=name, spec=DownsampleSpec(channels=channels, size=size, convolution=arch.downsampler)
            )
            entering = _Skip(name=name, channels=channels)

    lowest = arch.size_at(len(arch.stages) - 1)
    yield from _path(arch, arch.mid_stage, arch.mid, "mid_block", size=lowest, channels=channels, skips=[])

    for index, stage in reversed(list(enumerate(arch.stages))):
        path_name, size = f"up_blocks.{len(arch.stages) - 1 - index}", arch.size_at(index)
        yield from _path(arch, stage, stage.up, path_name, size=size, channels=channels, skips=skips_of_stage[index])
        channels = stage.channels
        if index > 0:
            yield PlacedBlock(
                name=f"{path_name}.upsamplers.0",
                spec=UpsampleSpec(channels=channels, size=size, convolution=arch.upsampler),
            )

    yield PlacedBlock(
        name="conv_norm_out",
        spec=NormOutSpec(channels=channels, size=arch.sample_size, norm_groups=arch.norm_groups),
    )
    yield PlacedBlock(
        name="conv_out",
        spec=ConvSpec(in_channels=channels, out_channels=arch.out_channels, size=arch.sample_size),
    )


def _embeddings(arch: ArchConfig) -> Iterator[PlacedBlock]:
    """What is computed once ahead of the network: time, added conditioning, context."""
    width = arch.time_embedding_width
    yield PlacedBlock(name="time_embedding", spec=TimeEmbeddingSpec(in_width=arch.stages[0].channels, out_width=width))
    if arch.added_conditioning is not None:
        added = arch.added_conditioning
        yield PlacedBlock(
            name="add_embedding",
            spec=AddedEmbeddingSpec(
                pooled_text_width=added.pooled_text_width,
                num_size_ids=added.num_size_ids,
                size_id_width=added.size_id_width,
                out_width=width,
            ),
        )
    if arch.context_projection is not None:
        yield PlacedBlock(
            name="encoder_hid_proj",
            spec=ContextProjectionSpec(
                in_width=arch.context_projection.in_width,
                out_width=arch.context_width,
                length=arch.context_length,
                norm=arch.context_projection.norm,
            ),
        )


def _path(
    arch: ArchConfig,
    stage: StageConfig,
    path: PathConfig,
    name: str,
    *,
    size: int,
    channels: int,
    skips: list[_Skip],
) -> Iterator[PlacedBlock]:
    """The residual blocks of one path, each with the skip it takes and the transformer behind it."""
    waiting = list(skips)
    for index, depth in enumerate(path.transformer_depths):
        skip = waiting.pop() if waiting else None
        skip_channels = skip.channels if skip else 0
        yield PlacedBlock(
            name=f"{name}.resnets.{index}",
            spec=_residual(arch, stage, channels + skip_channels, skip_channels, size),
            skip_from=skip.name if skip else None,
        )
        channels = stage.channels
        if depth:
            yield PlacedBlock(name=f"{name}.attentions.{index}", spec=_transformer(arch, stage, path, depth, size))


def _residual(arch: ArchConfig, stage: StageConfig, in_channels: int, skip_channels: int, size: int) -> ResidualSpec:
    return ResidualSpec(
        in_channels=in_channels,
        skip_channels=skip_channels,
        hidden_channels=stage.convolution.hidden_channels(in_channels, stage.channels),
        out_channels=stage.channels,
        size=size,
        time_width=arch.time_embedding_width,
        convolution=stage.convolution.kind,
        kernel=stage.convolution.kernel,
        norm_groups=arch.norm_groups,
    )


def _transformer(arch: ArchConfig, stage: StageConfig, path: PathConfig, depth: int, size: int) -> TransformerSpec:
    attends = path.self_attention or path.cross_attention
    return TransformerSpec(
        channels=stage.channels,
        size=size,
        depth=depth,
        num_heads=stage.num_heads if attends else 1,
        num_kv_heads=stage.attention.num_kv_heads if attends else 1,
        self_attention=path.self_attention,
        cross_attention=path.cross_attention,
        qk_norm=stage.attention.qk_norm if attends else "none",
        rope=stage.attention.rope and path.self_attention,
        feed_forward=stage.feed_forward.kind,
        hidden_channels=stage.feed_forward.expansion * stage.channels,
        projection=arch.projection,
        context_width=arch.context_width if path.cross_attention else 0,
        context_length=arch.context_length if path.cross_attention else 0,
        norm_groups=arch.norm_groups if arch.projection != "none" else 0,
        norm_replaces_self_attention=stage.norm_replaces_self_attention and not path.self_attention,
    )
