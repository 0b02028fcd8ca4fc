"""What an architecture may be, and when two of them are the same network."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings

from search_space.arch import (
    AddedConditioning,
    ArchConfig,
    AttentionConfig,
    ContextProjection,
    ConvolutionConfig,
    FeedForwardConfig,
    PathConfig,
    StageConfig,
    canonical,
)
from search_space.errors import UsageError
from search_space.references import REFERENCES, sd15
from search_space.walk import walk
from tests.search_space.examples import (
    BOTH,
    CROSS,
    FEED_FORWARD_ONLY,
    ITSELF,
    NO_MIDDLE,
    PLAIN,
    random_archs,
    small_arch,
    small_stage,
)

SEPARABLE = ConvolutionConfig(kind="separable")
SIZES = AddedConditioning(pooled_text_width=0, num_size_ids=2, size_id_width=8)


def attending(**changes: Any) -> AttentionConfig:
    """Attention of `small_stage`, changed."""
    return dataclasses.replace(AttentionConfig(head_dim=8, num_kv_heads=2), **changes)


def separable(**changes: Any) -> ConvolutionConfig:
    return dataclasses.replace(SEPARABLE, **changes)


def one_stage(path: PathConfig = BOTH, **changes: Any) -> ArchConfig:
    """One stage whose ways and middle are all the same path."""
    return small_arch(small_stage(down=path, up=path, **changes), mid=path)


def narrowing(convolution: ConvolutionConfig) -> ArchConfig:
    """Every residual block of the second stage has twice as many channels in as out."""
    second = small_stage(channels=32, down=PLAIN, up=PLAIN, convolution=convolution)
    return small_arch(small_stage(channels=64), second, mid=NO_MIDDLE)


def middle_of_last(path: PathConfig, **changes: Any) -> ArchConfig:
    """The ways of the last stage only normalise and feed forward; its middle is `path`."""
    last = small_stage(channels=64, down=CROSS, up=CROSS, **changes)
    return small_arch(small_stage(), last, mid=path)


SAME_NETWORK: dict[str, tuple[ArchConfig, ArchConfig]] = {
    "head_dim without attention": (one_stage(PLAIN), one_stage(PLAIN, attention=attending(head_dim=16))),
    "kv heads without attention": (one_stage(PLAIN), one_stage(PLAIN, attention=attending(num_kv_heads=1))),
    "attention of feed-forward layers": (
        one_stage(FEED_FORWARD_ONLY),
        one_stage(FEED_FORWARD_ONLY, attention=attending(head_dim=16, qk_norm="rms_norm")),
    ),
    "rope without self-attention": (one_stage(CROSS), one_stage(CROSS, attention=attending(rope=True))),
    "feed-forward without transformer": (
        one_stage(PLAIN),
        one_stage(PLAIN, feed_forward=FeedForwardConfig(kind="gelu", expansion=3)),
    ),
    "placement without transformer": (
        one_stage(PLAIN),
        one_stage(PathConfig(transformer_depths=(0,), self_attention=True, cross_attention=True)),
    ),
    "norm that replaces self-attention beside it": (one_stage(), one_stage(norm_replaces_self_attention=True)),
    "norm that replaces self-attention without transformer": (
        one_stage(PLAIN),
        one_stage(PLAIN, norm_replaces_self_attention=True),
    ),
    "projection without transformer": (
        one_stage(PLAIN),
        dataclasses.replace(one_stage(PLAIN), projection="none"),
    ),
    "context without cross-attention": (
        one_stage(ITSELF),
        dataclasses.replace(one_stage(ITSELF), context_width=99, context_length=3),
    ),
    "samplers of a single stage": (
        one_stage(),
        dataclasses.replace(one_stage(), downsampler="separable", upsampler="separable"),
    ),
    "hidden width where no block narrows its input": (
        small_arch(small_stage(convolution=separable(hidden_width="in")), small_stage()),
        small_arch(small_stage(convolution=separable(hidden_width="max")), small_stage()),
    ),
    "hidden width of twice the output or once the input": (
        narrowing(separable(expansion=2, hidden_width="out")),
        narrowing(separable(expansion=1, hidden_width="in")),
    ),
    "hidden width of the input, which is the larger": (
        narrowing(separable(hidden_width="max")),
        narrowing(separable(hidden_width="in")),
    ),
}

OTHER_NETWORK: dict[str, tuple[ArchConfig, ArchConfig]] = {
    "head_dim with attention": (one_stage(), one_stage(attention=attending(head_dim=16, num_kv_heads=2))),
    "qk_norm": (one_stage(CROSS), one_stage(CROSS, attention=attending(qk_norm="rms_norm"))),
    "rope with self-attention": (one_stage(ITSELF), one_stage(ITSELF, attention=attending(rope=True))),
    "rope with self-attention in the middle only": (
        middle_of_last(ITSELF),
        middle_of_last(ITSELF, attention=attending(rope=True)),
    ),
    "norm that replaces self-attention": (one_stage(CROSS), one_stage(CROSS, norm_replaces_self_attention=True)),
    "context length with cross-attention": (one_stage(), dataclasses.replace(one_stage(), context_length=8)),
    "context projection without cross-attention": (
        one_stage(PLAIN),
        dataclasses.replace(one_stage(PLAIN), context_projection=ContextProjection(in_width=20)),
    ),
    "hidden width where a block widens its input": (
        small_arch(small_stage(), small_stage(channels=64, convolution=separable(hidden_width="in"))),
        small_arch(small_stage(), small_stage(channels=64, convolution=separable(hidden_width="max"))),
    ),
    "hidden width where a skip widens the input": (
        one_stage(convolution=separable(hidden_width="out")),
        one_stage(convolution=separable(hidden_width="max")),
    ),
    "an empty middle": (small_arch(mid=NO_MIDDLE), small_arch(mid=PLAIN)),
    "samplers": (small_arch(), small_arch(downsampler="separable")),
    "sample size": (small_arch(), small_arch(sample_size=16)),
    "norm groups": (small_arch(), small_arch(norm_groups=4)),
    "added conditioning": (small_arch(), small_arch(added_conditioning=SIZES)),
}


@pytest.mark.parametrize(("first", "second"), SAME_NETWORK.values(), ids=SAME_NETWORK)
def test_choices_that_decide_nothing_do_not_name_another_network(first: ArchConfig, second: ArchConfig) -> None:
    assert first != second
    assert walk(first) == walk(second)
    assert canonical(first) == canonical(second)
    assert first.arch_id == second.arch_id


@pytest.mark.parametrize(("first", "second"), OTHER_NETWORK.values(), ids=OTHER_NETWORK)
def test_choices_that_decide_something_name_another_network(first: ArchConfig, second: ArchConfig) -> None:
    assert walk(first) != walk(second)
    assert first.arch_id != second.arch_id


@settings(max_examples=30)
@given(random_archs, random_archs)
def test_arch_ids_are_equal_exactly_when_the_walks_are(first: ArchConfig, second: ArchConfig) -> None:
    assert (first.arch_id == second.arch_id) == (walk(first) == walk(second))


EVERY_HAND_MADE_ARCH = [arch for pair in (SAME_NETWORK | OTHER_NETWORK).values() for arch in pair]


def test_hand_made_arch_ids_are_equal_exactly_when_the_walks_are() -> None:
    by_walk: dict[object, set[str]] = {}
    for arch in EVERY_HAND_MADE_ARCH:
        by_walk.setdefault(walk(arch), set()).add(arch.arch_id)
    assert all(len(arch_ids) == 1 for arch_ids in by_walk.values())
    assert len(by_walk) == len({arch.arch_id for arch in EVERY_HAND_MADE_ARCH})


@pytest.mark.parametrize("arch", [*EVERY_HAND_MADE_ARCH, *(build() for build in REFERENCES.values())])
def test_canonical_is_idempotent_and_keeps_the_network(arch: ArchConfig) -> None:
    assert canonical(canonical(arch)) == canonical(arch)
    assert walk(canonical(arch)) == walk(arch)


@settings(max_examples=30)
@given(random_archs)
def test_random_archs_are_canonical(arch: ArchConfig) -> None:
    assert canonical(arch) == arch


def test_hidden_width_is_that_of_the_output_the_input_or_the_larger() -> None:
    hidden = {
        width: separable(expansion=3, hidden_width=width).hidden_channels(40, 16) for width in ("out", "max", "in")
    }
    assert hidden == {"out": 48, "max": 120, "in": 120}
    assert separable(hidden_width="in").hidden_channels(16, 40) == 16


REFUSED: dict[str, tuple[Any, str]] = {
    "kernel": (lambda: ConvolutionConfig(kernel=4), "convolution.kernel"),
    "expansion 0": (lambda: separable(expansion=0), "convolution.expansion"),
    "expansion 4": (lambda: separable(expansion=4), "convolution.expansion"),
    "expansion of full": (lambda: ConvolutionConfig(expansion=2), "convolution.expansion"),
    "hidden width of full": (lambda: ConvolutionConfig(hidden_width="max"), "convolution.hidden_width"),
    "feed-forward 0": (lambda: FeedForwardConfig(expansion=0), "feed_forward.expansion"),
    "feed-forward 9": (lambda: FeedForwardConfig(expansion=9), "feed_forward.expansion"),
    "depth -1": (lambda: PathConfig(transformer_depths=(1, -1)), "transformer_depths"),
    "depth 33": (lambda: PathConfig(transformer_depths=(33,)), "transformer_depths"),
    "head_dim 0": (lambda: small_stage(attention=attending(head_dim=0)), "attention.head_dim"),
    "head_dim indivisible": (lambda: small_stage(attention=attending(head_dim=12)), "attention.head_dim"),
    "kv heads 0": (lambda: small_stage(attention=attending(num_kv_heads=0)), "attention.num_kv_heads"),
    "kv heads indivisible": (lambda: small_stage(attention=attending(num_kv_heads=3)), "attention.num_kv_heads"),
    "rope": (lambda: small_stage(attention=attending(head_dim=2, rope=True)), "attention.head_dim"),
    "no block down": (lambda: small_stage(down=NO_MIDDLE), "down.transformer_depths"),
    "no block up": (lambda: small_stage(up=NO_MIDDLE), "up.transformer_depths"),
    "pooled text": (lambda: dataclasses.replace(SIZES, pooled_text_width=-1), "added_conditioning.pooled_text_width"),
    "no size ids": (lambda: dataclasses.replace(SIZES, num_size_ids=0), "added_conditioning.num_size_ids"),
    "odd sinusoids": (lambda: dataclasses.replace(SIZES, size_id_width=7), "added_conditioning.size_id_width"),
    "context projection": (lambda: ContextProjection(in_width=0), "context_projection.in_width"),
    "schema version": (lambda: small_arch(schema_version=2), "schema_version"),
    "no stage": (lambda: dataclasses.replace(small_arch(), stages=()), "stages"),
    "sample size 0": (lambda: small_arch(sample_size=0), "sample_size"),
    "sample size odd": (lambda: small_arch(sample_size=9), "sample_size"),
    "in_channels": (lambda: small_arch(in_channels=0), "in_channels"),
    "out_channels": (lambda: small_arch(out_channels=-4), "out_channels"),
    "time_embedding_width": (lambda: small_arch(time_embedding_width=0), "time_embedding_width"),
    "context_width": (lambda: small_arch(context_width=0), "context_width"),
    "context_length": (lambda: small_arch(context_length=0), "context_length"),
    "norm groups": (lambda: small_arch(norm_groups=7), "channels"),
    "norm groups 0": (lambda: small_arch(norm_groups=0), "channels"),
    "odd channels": (
        lambda: small_arch(
            small_stage(channels=33, attention=AttentionConfig(head_dim=33, num_kv_heads=1)), norm_groups=1
        ),
        "stages.0.channels",
    ),
}


@pytest.mark.parametrize(("build", "field"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_built_is_refused_by_the_name_of_the_field(build: Any, field: str) -> None:
    with pytest.raises(UsageError, match=f"architecture field {field} is .*\nallowed: ") as refusal:
        build()
    assert len(str(refusal.value).splitlines()) == 2


def test_an_arch_cannot_be_changed() -> None:
    arch = sd15()
    with pytest.raises(dataclasses.FrozenInstanceError):
        arch.in_channels = 5  # type: ignore[misc]
    assert hash(arch) == hash(sd15())
    assert isinstance(arch.stages[0], StageConfig)
