"""The order, the names and the skips of a network's blocks."""

import pytest
from hypothesis import given, settings

from search_space.arch import AddedConditioning, ArchConfig, ContextProjection, PathConfig, residual_widths
from search_space.references import sd15
from search_space.specs import ResidualSpec, TransformerSpec
from search_space.walk import block_specs, walk
from tests.search_space.examples import BOTH, NO_MIDDLE, PLAIN, random_archs, small_arch, small_stage


def plain(num_blocks: int) -> PathConfig:
    return PathConfig(transformer_depths=(0,) * num_blocks)


def skips(arch: ArchConfig) -> dict[str, str | None]:
    """Residual block on the way up -> where its skip comes from."""
    return {block.name: block.skip_from for block in walk(arch) if block.name.startswith("up") and "res" in block.name}


def test_names_and_order_are_those_of_diffusers() -> None:
    arch = small_arch(
        small_stage(down=BOTH, up=PLAIN),
        small_stage(channels=64, down=PLAIN, up=BOTH),
        mid=PathConfig(transformer_depths=(2, 0), cross_attention=True),
        added_conditioning=AddedConditioning(pooled_text_width=8, num_size_ids=6, size_id_width=8),
        context_projection=ContextProjection(in_width=20),
    )
    assert [block.name for block in walk(arch)] == [
        "time_embedding",
        "add_embedding",
        "encoder_hid_proj",
        "conv_in",
        "down_blocks.0.resnets.0",
        "down_blocks.0.attentions.0",
        "down_blocks.0.downsamplers.0",
        "down_blocks.1.resnets.0",
        "mid_block.resnets.0",
        "mid_block.attentions.0",
        "mid_block.resnets.1",
        "up_blocks.0.resnets.0",
        "up_blocks.0.attentions.0",
        "up_blocks.0.upsamplers.0",
        "up_blocks.1.resnets.0",
        "conv_norm_out",
        "conv_out",
    ]
    assert block_specs(arch) == tuple(block.spec for block in walk(arch))


def test_one_block_more_up_than_down_is_the_usual_stack_of_skips() -> None:
    pushed = ["conv_in"]
    for block in walk(sd15()):
        if block.name.startswith("down_blocks") and "resnets" in block.name:
            pushed.append(block.name)
        elif block.name.startswith("down_blocks") and "attentions" in block.name:
            pushed[-1] = block.name
        elif "downsamplers" in block.name:
            pushed.append(block.name)
    assert list(skips(sd15()).values()) == pushed[::-1]


def test_fewer_blocks_up_take_the_newest_skips_of_their_stage() -> None:
    arch = small_arch(small_stage(down=plain(3), up=plain(2)), small_stage(down=plain(2), up=plain(1)))
    assert skips(arch) == {
        "up_blocks.0.resnets.0": "down_blocks.1.resnets.1",
        "up_blocks.1.resnets.0": "down_blocks.0.resnets.2",
        "up_blocks.1.resnets.1": "down_blocks.0.resnets.1",
    }


def test_more_blocks_up_run_without_a_skip_when_none_is_left() -> None:
    arch = small_arch(small_stage(down=plain(1), up=plain(4)), small_stage(channels=64, down=plain(1), up=plain(3)))
    assert skips(arch) == {
        "up_blocks.0.resnets.0": "down_blocks.1.resnets.0",
        "up_blocks.0.resnets.1": "down_blocks.0.downsamplers.0",
        "up_blocks.0.resnets.2": None,
        "up_blocks.1.resnets.0": "down_blocks.0.resnets.0",
        "up_blocks.1.resnets.1": "conv_in",
        "up_blocks.1.resnets.2": None,
        "up_blocks.1.resnets.3": None,
    }
    widths = [b.spec.in_channels for b in walk(arch) if b.name in skips(arch) and isinstance(b.spec, ResidualSpec)]
    assert widths == [64 + 64, 64 + 32, 64, 64 + 32, 32 + 32, 32, 32]


@settings(max_examples=30)
@given(random_archs)
def test_every_skip_comes_from_an_earlier_block_of_the_same_resolution_and_is_taken_once(arch: ArchConfig) -> None:
    size_after: dict[str, int] = {}
    taken: list[str] = []
    size = arch.sample_size
    for block in walk(arch):
        size = {"downsample": size // 2, "upsample": size * 2}.get(block.spec.kind, size)
        if block.skip_from:
            assert size_after[block.skip_from] == block.spec.size == size  # type: ignore[union-attr]
            taken.append(block.skip_from)
        size_after[block.name] = size
    assert len(taken) == len(set(taken))
    assert size == arch.sample_size


@settings(max_examples=30)
@given(random_archs)
def test_residual_widths_are_those_of_the_walk(arch: ArchConfig) -> None:
    for index, stage in enumerate(arch.stages):
        walked = [
            (block.spec.in_channels, block.spec.out_channels)
            for block in walk(arch)
            if isinstance(block.spec, ResidualSpec) and block.spec.size == arch.size_at(index)
        ]
        assert sorted(residual_widths(arch, index)) == sorted(walked)
        assert {out for _, out in walked} == {stage.channels}


@pytest.mark.parametrize("path", ["down", "up"])
def test_a_transformer_says_only_what_decides_it(path: str) -> None:
    """Fields of attention that does not stand there are fixed, so the latency table has one row for them."""
    nothing_attends = small_stage(**{path: PathConfig(transformer_depths=(1,))})
    spec = next(
        block.spec
        for block in walk(small_arch(nothing_attends, mid=NO_MIDDLE))
        if block.name.startswith(path) and isinstance(block.spec, TransformerSpec)
    )
    assert (spec.num_heads, spec.num_kv_heads, spec.qk_norm, spec.rope) == (1, 1, "none", False)
    assert (spec.context_width, spec.context_length) == (0, 0)
