"""The operations of a block are all of its work, of the right kind."""

import dataclasses

import pytest

from profilers.roofline.operations import OPERATION_KINDS, operations
from search_space.arch import ArchConfig
from search_space.counts import macs, num_params
from search_space.references import REFERENCES, reference, snapgen_ladder
from search_space.space import random_arch, reachable_specs
from search_space.spaces import search_space
from search_space.specs import ConvSpec, ResidualSpec, TransformerSpec
from search_space.walk import block_specs


def test_macs_of_every_block_of_tiny_are_the_counted_ones() -> None:
    for spec in reachable_specs(search_space("tiny")):
        assert sum(operation.macs for operation in operations(spec)) == macs(spec)


@pytest.mark.parametrize("seed", range(12))
def test_macs_of_snapgen_networks_are_the_counted_ones(seed: int) -> None:
    _assert_macs_agree(random_arch(search_space("snapgen"), seed))


@pytest.mark.parametrize("name", REFERENCES)
def test_macs_of_published_networks_are_the_counted_ones(name: str) -> None:
    _assert_macs_agree(reference(name))


def _assert_macs_agree(arch: ArchConfig) -> None:
    for spec in block_specs(arch):
        assert sum(operation.macs for operation in operations(spec)) == macs(spec)
        assert sum(operation.num_weights for operation in operations(spec)) <= num_params(spec)


def test_every_kind_of_operation_occurs_in_snapgens_network() -> None:
    found = {operation.kind for spec in block_specs(reference("snapgen_t2i")) for operation in operations(spec)}
    assert found == set(OPERATION_KINDS)


def test_a_full_convolution_reads_its_input_and_its_weights_once() -> None:
    (operation,) = operations(ConvSpec(in_channels=4, out_channels=8, size=16))
    assert operation.kind == "full_convolution"
    assert operation.num_activations == (4 + 8) * 16 * 16
    assert operation.num_weights == 4 * 8 * 9


def test_a_separable_convolution_is_a_depthwise_and_a_linear_one() -> None:
    full = next(spec for spec in _specs_of_step("1") if isinstance(spec, ResidualSpec))
    kinds = [operation.kind for operation in operations(dataclasses.replace(full, convolution="separable"))]
    assert "full_convolution" not in kinds
    assert kinds.count("depthwise_convolution") == 2


def test_one_key_value_head_is_launched_once() -> None:
    spec = next(spec for spec in _specs_of_step("3") if isinstance(spec, TransformerSpec))
    many = sum(operation.num_launches for operation in operations(spec))
    one = sum(operation.num_launches for operation in operations(dataclasses.replace(spec, num_kv_heads=1)))
    num_attentions = spec.depth * (spec.self_attention + spec.cross_attention)
    assert many - one == num_attentions * 2 * (spec.num_kv_heads - 1)


def _specs_of_step(step: str) -> tuple[object, ...]:
    return next(block_specs(arch) for title, arch in snapgen_ladder() if title.split()[0] == step)
