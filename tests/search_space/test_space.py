"""Search spaces: every set of decisions is one network, and every network of a space has its decisions."""

import dataclasses
import functools
import re
import warnings
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_space.arch import ArchConfig, canonical
from search_space.decisions import variations
from search_space.errors import UsageError
from search_space.references import REFERENCES, dreamlite, sd15, snapgen_ladder, snapgen_t2i
from search_space.space import (
    SearchSpace,
    arch_from_decisions,
    contains,
    decisions_of,
    neighbours,
    random_arch,
    reachable_specs,
    suggest_arch,
)
from search_space.spaces import SNAPGEN, SPACES, TINY, search_space
from search_space.specs import SPEC_KINDS, BlockSpec, spec_key
from search_space.walk import block_specs
from tests.search_space.test_decisions import choices

every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
seeds = st.integers(0, 2**32)


def narrowed(space: SearchSpace, *stage_changes: dict[str, Any], **changes: Any) -> SearchSpace:
    """A space with fewer choices in each of its first stages, the others left out."""
    stages = tuple(
        dataclasses.replace(stage, **changed) for stage, changed in zip(space.stages, stage_changes, strict=False)
    )
    return dataclasses.replace(space, name="narrowed", stages=stages, **changes)


@functools.cache
def small_space() -> SearchSpace:
    """Two stages, small enough to build every architecture, with every condition between decisions."""
    single: dict[str, Any] = {"kv_sharings": ("mqa",), "separable_kernels": (3,), "feed_forward_expansions": (2,)}
    first = single | {"convolutions": ("full",), "down_depths": (0,), "up_depths": (0,)}
    second = single | {
        "channels": (64,),
        "down_blocks": (1,),
        "up_blocks": (2,),
        "down_depths": (0, 1),
        "up_depths": (0, 1),
        "head_dims": (16,),
        "qk_norms": ("none",),
        "norm_replacements": (False, True),
    }
    fixed: dict[str, Any] = {"projections": ("linear",), "downsamplers": ("full",), "upsamplers": ("full",)}
    return narrowed(TINY, first, second, mid_layouts=((1,), (2, 0)), **fixed)


@functools.cache
def every_arch(space: SearchSpace) -> tuple[ArchConfig, ...]:
    names = {found.name for found in choices(space.tree)}
    return tuple(arch_from_decisions(space, decisions) for decisions in variations(space.tree, names))


def test_size_is_the_number_of_different_networks() -> None:
    space = small_space()
    assert space.size == len({arch.arch_id for arch in every_arch(space)}) == 8 * 3 * 56


@every_space
@settings(max_examples=25)
@given(seed=seeds)
def test_decisions_are_read_back_from_the_architecture(space: SearchSpace, seed: int) -> None:
    arch = random_arch(space, seed)
    decisions = decisions_of(arch, space)
    assert arch_from_decisions(space, decisions) == arch
    assert contains(space, arch)


@every_space
def test_random_archs_are_repeatable_and_differ(space: SearchSpace) -> None:
    drawn = [random_arch(space, seed) for seed in range(20)]
    assert drawn == [random_arch(space, seed) for seed in range(20)]
    assert len({arch.arch_id for arch in drawn}) == 20


@every_space
@pytest.mark.parametrize("seed", range(3))
def test_neighbours_differ_in_one_decision_and_lie_in_the_space(space: SearchSpace, seed: int) -> None:
    arch = random_arch(space, seed)
    decisions = decisions_of(arch, space)
    near = neighbours(arch, space)
    assert len({neighbour.arch_id for neighbour in near} | {arch.arch_id}) == len(near) + 1
    for neighbour in near:
        changed = decisions_of(neighbour, space)
        shared = decisions.keys() & changed.keys()
        assert sum(decisions[name] != changed[name] for name in shared) == 1


def test_neighbours_are_neighbours_of_each_other_unless_the_change_opened_decisions() -> None:
    arch = random_arch(TINY, 1)
    is_symmetric = 0
    for neighbour in neighbours(arch, TINY):
        if decisions_of(neighbour, TINY).keys() == decisions_of(arch, TINY).keys():
            assert arch in neighbours(neighbour, TINY)
            is_symmetric += 1
    assert is_symmetric > 10


def test_there_is_one_neighbour_for_every_other_option_of_every_decision() -> None:
    arch = random_arch(TINY, 2)
    options = {found.name: found.values for found in choices(TINY.tree)}
    assert len(neighbours(arch, TINY)) == sum(len(options[name]) - 1 for name in decisions_of(arch, TINY))


def test_an_arch_outside_the_space_has_no_decisions() -> None:
    with pytest.raises(UsageError, match="not in the search space 'tiny'") as refusal:
        decisions_of(sd15(), TINY)
    assert len(str(refusal.value).splitlines()) <= 3
    with pytest.raises(UsageError, match=sd15().arch_id):
        neighbours(sd15(), SNAPGEN)


def test_snapgen_contains_the_published_candidates_and_not_the_larger_networks() -> None:
    inside = [name for name, build in REFERENCES.items() if contains(SNAPGEN, build())]
    assert inside == ["dreamlite", "snapgen_imagenet", "snapgen_t2i"]
    assert all(contains(SNAPGEN, arch) for _, arch in snapgen_ladder())


def test_contains_reads_through_choices_that_decide_nothing() -> None:
    first = dataclasses.replace(
        dreamlite().stages[0], attention=dataclasses.replace(dreamlite().stages[0].attention, rope=True)
    )
    unusual = dataclasses.replace(dreamlite(), stages=(first, *dreamlite().stages[1:]))
    assert unusual != canonical(unusual)
    assert contains(SNAPGEN, unusual)


@pytest.mark.parametrize(
    "change", [{"sample_size": 64}, {"norm_groups": 16}, {"context_length": 78}, {"in_channels": 4}]
)
def test_what_the_space_does_not_offer_is_outside(change: dict[str, int]) -> None:
    assert not contains(SNAPGEN, dataclasses.replace(snapgen_t2i(), **change))  # type: ignore[arg-type]


def kind_of_decision(name: str) -> str:
    """A decision's name without its stage."""
    return re.sub(r"^stage\d\.", "", name)


def test_tiny_offers_every_kind_of_decision() -> None:
    kinds = {kind_of_decision(found.name) for found in choices(TINY.tree)}
    offered = {kind_of_decision(found.name) for found in choices(TINY.tree) if len(found.values) > 1}
    assert offered == {
        "channels",
        "down_blocks",
        "up_blocks",
        "down_depth",
        "up_depth",
        "down_attention",
        "up_attention",
        "norm_replacement",
        "head_dim",
        "kv_sharing",
        "qk_norm",
        "rope",
        "feed_forward",
        "feed_forward_expansion",
        "convolution",
        "full_kernel",
        "separable_kernel",
        "separable_expansion",
        "hidden_width",
        "mid.layout",
        "downsampler",
        "upsampler",
        "projection",
    }
    # Decided by what surrounds the network, or too costly to vary within minutes on a CPU.
    assert kinds - offered == {"interface", "time_embedding_width"}


@every_space
def test_a_random_study_gets_architectures_of_the_space(space: SearchSpace) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        options: dict[str, tuple[Any, ...]] = {}
        for number in range(200 if space is TINY else 60):
            trial = study.ask()
            arch = suggest_arch(trial, space)
            study.tell(trial, 0.0)
            if number % 5 == 0:
                wanted = decisions_of(arch, space)
                assert {name: wanted[name] for name in trial.params} == trial.params
            for name, distribution in trial.distributions.items():
                assert isinstance(distribution, optuna.distributions.CategoricalDistribution)
                assert options.setdefault(name, distribution.choices) == distribution.choices
    assert all(type(value) in (str, int, bool) for values in options.values() for value in values)
    assert options.keys() == {found.name for found in choices(space.tree) if len(found.values) > 1}


@every_space
def test_a_fixed_trial_gives_the_architecture_of_its_decisions(space: SearchSpace) -> None:
    arch = random_arch(space, 3)
    assert suggest_arch(optuna.trial.FixedTrial(dict(decisions_of(arch, space))), space) == arch


def test_reachable_specs_are_exactly_those_of_all_architectures_of_a_small_space() -> None:
    space = small_space()
    reachable = reachable_specs(space)
    assert set(reachable) == {spec for arch in every_arch(space) for spec in block_specs(arch)}
    assert [spec_key(spec) for spec in reachable] == sorted({spec_key(spec) for spec in reachable})


def specs_of_random_archs(space: SearchSpace, number: int) -> set[BlockSpec]:
    return {spec for seed in range(number) for spec in block_specs(random_arch(space, seed))}


def test_reachable_specs_contain_every_spec_of_random_tiny_architectures() -> None:
    assert specs_of_random_archs(TINY, 300) <= set(reachable_specs(TINY))


def test_reachable_specs_contain_every_spec_of_random_large_architectures() -> None:
    fewer: dict[str, Any] = {"feed_forward_expansions": (3,), "separable_kernels": (3,), "separable_expansions": (1, 2)}
    space = narrowed(
        SNAPGEN,
        fewer | {"down_depths": (0, 1), "up_depths": (0, 1)},
        fewer | {"down_depths": (0, 2), "up_depths": (0, 2)},
        fewer | {"down_depths": (4,), "up_depths": (1, 4)},
        interfaces=SNAPGEN.interfaces[2:],
    )
    reachable = set(reachable_specs(space))
    assert specs_of_random_archs(space, 100) <= reachable
    assert {spec.kind for spec in reachable} == set(SPEC_KINDS)


def test_a_space_with_architectures_that_hear_no_text_is_refused() -> None:
    without_text: dict[str, Any] = {"attentions": ("self", "both")}
    with pytest.raises(UsageError, match="without cross-attention"):
        narrowed(TINY, {}, without_text)
    assert narrowed(TINY, {}, without_text, mid_layouts=((1,),)).size > 0


def test_spaces_are_found_by_name() -> None:
    assert search_space("tiny") is TINY
    with pytest.raises(UsageError, match="'huge'\nallowed: tiny, mid, snapgen"):
        search_space("huge")


def test_a_space_is_also_there_with_other_latents() -> None:
    small = search_space("snapgen@64")
    assert (small.name, small.sample_size) == ("snapgen@64", 64)
    assert dataclasses.replace(small, name="snapgen", sample_size=128) == SNAPGEN
    assert search_space("snapgen@128") is SNAPGEN
    assert random_arch(small, 0).sample_size == 64
    assert len(reachable_specs(search_space("tiny@32"))) == len(reachable_specs(search_space("tiny")))


@pytest.mark.parametrize(
    "name", ["tiny@", "tiny@6", "tiny@0", "tiny@-4", "tiny@016", "tiny@1024", "tiny@x", "tiny@4@8"]
)
def test_latents_that_the_stages_cannot_halve_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="multiple of 4 up to 512"):
        search_space(name)


def test_a_space_that_nobody_has_is_refused() -> None:
    with pytest.raises(UsageError, match="tiny, mid, snapgen, and snapgen@64"):
        search_space("huge@64")
