"""The search spaces that come with SnapNAS.

`tiny` trains on a laptop's CPU and has every kind of decision; `mid` has half of SnapGen's widths and few enough blocks
to measure all of them in minutes; `snapgen` is the scale of a phone at 1024 px and contains SnapGen's candidates and
DreamLite.
"""

import dataclasses

from search_space.arch import AddedConditioning, ContextProjection
from search_space.errors import UsageError
from search_space.space import Interface, SearchSpace
from search_space.stage_choices import AttentionPlacement, StageChoices

TINY = SearchSpace(
    name="tiny",
    stages=(
        StageChoices(
            channels=(32, 48),
            down_blocks=(1, 2),
            up_blocks=(1, 2),
            down_depths=(0, 1),
            up_depths=(0, 1),
            attentions=("cross",),
            head_dims=(16,),
            kv_sharings=("mha", "mqa"),
            norm_replacements=(False, True),
            feed_forward_expansions=(2, 3),
            convolutions=("full", "separable"),
            separable_expansions=(1, 2),
        ),
        StageChoices(
            channels=(64, 96),
            down_blocks=(1, 2),
            up_blocks=(1, 2),
            down_depths=(0, 1),
            up_depths=(0, 1),
            attentions=("both", "cross"),
            head_dims=(16, 32),
            kv_sharings=("mha", "mqa"),
            qk_norms=("none", "rms_norm"),
            ropes=(False, True),
            feed_forward_expansions=(2,),
            convolutions=("full", "separable"),
            separable_kernels=(3, 5),
            hidden_widths=("out", "max"),
        ),
        StageChoices(
            channels=(96, 128),
            down_blocks=(1,),
            up_blocks=(1, 2),
            down_depths=(0, 1),
            up_depths=(1, 2),
            attentions=("both", "cross"),
            head_dims=(16,),
            kv_sharings=("mha", "gqa", "mqa"),
            feed_forward_kinds=("geglu", "gelu"),
            feed_forward_expansions=(3,),
            convolutions=("full", "separable"),
            full_kernels=(3, 5),
        ),
    ),
    mid_layouts=((), (0,), (1, 0)),
    downsamplers=("full", "separable"),
    upsamplers=("full", "separable"),
    projections=("linear", "none"),
    time_embedding_widths=(128,),
    interfaces=(Interface(name="scenes", in_channels=12, out_channels=12, context_width=96, context_length=16),),
    norm_groups=16,
    sample_size=16,
)
"""32 x 32 px as 16 x 16 x 12 latents."""


def _mid_stage(channels: int, *, attentions: tuple[AttentionPlacement, ...], depths: tuple[int, ...]) -> StageChoices:
    return StageChoices(
        channels=(channels,),
        down_blocks=(1, 2),
        up_blocks=(2,),
        down_depths=depths,
        up_depths=depths,
        attentions=attentions,
        head_dims=(64,),
        kv_sharings=("mha", "mqa"),
        qk_norms=("rms_norm",),
        ropes=(True,),
        feed_forward_expansions=(2, 3),
        convolutions=("full", "separable"),
        separable_expansions=(1, 2),
    )


MID = SearchSpace(
    name="mid",
    stages=(
        _mid_stage(128, attentions=("cross",), depths=(0, 1)),
        _mid_stage(256, attentions=("cross", "both"), depths=(1, 2)),
        _mid_stage(448, attentions=("both",), depths=(1, 2)),
    ),
    mid_layouts=((), (0,), (1, 0)),
    downsamplers=("full", "separable"),
    upsamplers=("full", "separable"),
    projections=("linear",),
    time_embedding_widths=(512,),
    interfaces=(Interface(name="f8", in_channels=4, out_channels=4, context_width=768, context_length=77),),
    norm_groups=32,
    sample_size=32,
)
"""256 x 256 px as 32 x 32 x 4 latents of an f8 autoencoder: half of SnapGen's widths, its main decisions."""


def _snapgen_stage(channels: tuple[int, ...], *, depths: tuple[int, ...]) -> StageChoices:
    return StageChoices(
        channels=channels,
        down_blocks=(1, 2, 3),
        up_blocks=(2, 3, 4),
        down_depths=depths,
        up_depths=depths,
        attentions=("cross", "both"),
        head_dims=(64,),
        kv_sharings=("mha", "gqa", "mqa"),
        qk_norms=("none", "rms_norm"),
        ropes=(False, True),
        norm_replacements=(False, True),
        feed_forward_kinds=("geglu", "gelu"),
        feed_forward_expansions=(2, 3, 4),
        convolutions=("full", "separable"),
        separable_kernels=(3, 5),
        separable_expansions=(1, 2, 3),
        hidden_widths=("out", "max"),
    )


SNAPGEN = SearchSpace(
    name="snapgen",
    stages=(
        _snapgen_stage((256, 384), depths=(0, 1, 2)),
        _snapgen_stage((512, 640), depths=(0, 1, 2, 3)),
        _snapgen_stage((896, 1024), depths=(1, 2, 3, 4)),
    ),
    mid_layouts=((), (0,), (1, 0), (2,), (2, 0), (4, 0)),
    downsamplers=("full", "separable"),
    upsamplers=("full", "separable"),
    projections=("linear", "conv"),
    time_embedding_widths=(1024,),
    interfaces=(
        Interface(name="snapgen_t2i", in_channels=16, out_channels=16, context_width=2304, context_length=77),
        Interface(name="snapgen_imagenet", in_channels=16, out_channels=16, context_width=768, context_length=77),
        Interface(
            name="dreamlite",
            in_channels=4,
            out_channels=4,
            context_width=2304,
            context_length=77,
            context_projection=ContextProjection(in_width=2048, norm="rms_norm"),
            added_conditioning=AddedConditioning(pooled_text_width=0, num_size_ids=2, size_id_width=256),
        ),
    ),
    norm_groups=32,
    sample_size=128,
)
"""1024 x 1024 px as 128 x 128 latents of an f8 autoencoder."""

SPACES: dict[str, SearchSpace] = {space.name: space for space in (TINY, MID, SNAPGEN)}
"""Name -> space."""

MAX_SAMPLE_SIZE = 512
"""Of a space that is asked for with other latents: 4096 x 4096 px of an f8 autoencoder."""


def search_space(name: str) -> SearchSpace:
    """The space of that name; `snapgen@64` is `snapgen` with latents of 64 x 64.

    Raises:
        UsageError: There is none, or its stages cannot halve such latents.
    """
    base_name, at, size = name.partition("@")
    if base_name not in SPACES:
        allowed = f"{', '.join(SPACES)}, and snapgen@64 for latents of 64 x 64"
        raise UsageError(f"no search space is called {name!r}", allowed=allowed)
    space = SPACES[base_name]
    if not at:
        return space
    step = 2 ** (len(space.stages) - 1)
    sizes = range(step, MAX_SAMPLE_SIZE + 1, step)
    if size not in map(str, sizes):
        raise UsageError(
            f"the search space {name!r} was given",
            allowed=f"{base_name}@ and a multiple of {step} up to {MAX_SAMPLE_SIZE}",
        )
    if int(size) == space.sample_size:
        return space
    return dataclasses.replace(space, name=name, sample_size=int(size))
