"""Our counts are torch's, fvcore's and thop's; where those leave something out, a formula says what."""

import contextlib
import io
import logging
from typing import assert_never

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from search_space.arch import ArchConfig
from search_space.blocks import build_block, example_inputs
from search_space.counts import activation_bytes, count, count_block, macs, num_params, weight_bytes
from search_space.references import REFERENCES
from search_space.space import random_arch
from search_space.spaces import SNAPGEN, TINY
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
from search_space.unet import UNet
from search_space.walk import block_specs
from tests.search_space.examples import EXAMPLE_SPECS

every_block = pytest.mark.parametrize("spec", EXAMPLE_SPECS.values(), ids=EXAMPLE_SPECS)


def flops(arch: ArchConfig, device: str) -> int:
    """Floating-point operations of one forward pass as torch counts them."""
    added, projection = arch.added_conditioning, arch.context_projection
    with torch.device(device):
        unet = UNet(arch).to(device)  # the rotation of RoPE is made on the CPU
        sample = torch.empty(1, arch.in_channels, arch.sample_size, arch.sample_size)
        context = torch.empty(1, arch.context_length, projection.in_width if projection else arch.context_width)
        size_ids = torch.empty(1, added.num_size_ids) if added else None
        pooled_text = torch.empty(1, added.pooled_text_width) if added else None
        timestep = torch.empty(1)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        unet(sample, timestep, context, size_ids, pooled_text)
    return counter.get_total_flops()


@pytest.mark.parametrize("name", ["sd15", "sdxl", "dreamlite", "snapgen_t2i"])
def test_macs_of_published_networks_are_half_of_torchs_flops(name: str) -> None:
    arch = REFERENCES[name]()
    assert 2 * count(arch).macs == flops(arch, "meta")


@pytest.mark.parametrize("seed", [8, 9])
def test_macs_of_large_networks_are_half_of_torchs_flops(seed: int) -> None:
    arch = random_arch(SNAPGEN, seed)
    assert 2 * count(arch).macs == flops(arch, "meta")


@pytest.mark.parametrize("seed", range(48))
def test_macs_of_tiny_networks_are_half_of_torchs_flops(seed: int) -> None:
    """They really run: on the CPU torch counts attention when it is made of two matrix products."""
    arch = random_arch(TINY, seed)
    assert 2 * count(arch).macs == flops(arch, "cpu")


@every_block
def test_num_params_are_those_of_the_module(spec: BlockSpec) -> None:
    parameters = list(build_block(spec).parameters())
    assert num_params(spec) == sum(parameter.numel() for parameter in parameters)
    assert weight_bytes(spec) == sum(parameter.nbytes for parameter in parameters)


@every_block
def test_activations_are_what_enters_and_leaves(spec: BlockSpec) -> None:
    inputs = example_inputs(spec)
    entering = sum(tensor.numel() for tensor in inputs)
    if isinstance(spec, TimeEmbeddingSpec | AddedEmbeddingSpec):
        entering = spec.in_width  # the sinusoids, not the few numbers they are made of
    leaving = build_block(spec)(*inputs).numel()
    assert activation_bytes(spec) == 4 * (entering + leaving)
    assert activation_bytes(spec, bytes_per_number=2) == 2 * (entering + leaving)


def test_a_networks_counts_are_sums_over_its_blocks_and_its_activations_their_maximum() -> None:
    arch = random_arch(TINY, 0)
    blocks = [count_block(spec, bytes_per_number=2) for spec in block_specs(arch)]
    totals = count(arch, bytes_per_number=2)
    assert totals.num_params == sum(block.num_params for block in blocks)
    assert totals.macs == sum(block.macs for block in blocks)
    assert totals.weight_bytes == 2 * totals.num_params
    assert totals.activation_bytes == max(block.activation_bytes for block in blocks)


def attention_products(spec: TransformerSpec) -> int:
    """Multiply-accumulates of queries with keys and of weights with values, which fvcore and thop do not see."""
    tokens = spec.size**2
    to_pixels = 2 * tokens * tokens * spec.channels if spec.self_attention else 0
    to_text = 2 * tokens * spec.context_length * spec.channels if spec.cross_attention else 0
    return spec.depth * (to_pixels + to_text)


def layer_normed_numbers(spec: TransformerSpec) -> int:
    """Numbers that pass a LayerNorm: ahead of the feed-forward layer and of each attention (or in its place)."""
    norms = 1 + spec.cross_attention + (spec.self_attention or spec.norm_replaces_self_attention)
    return spec.depth * norms * spec.channels * spec.size**2


def fvcore_counts_besides(spec: BlockSpec) -> int:
    """What fvcore's number has beyond ours: 5 for each number that a norm sees, 1 for each that upsampling makes."""
    match spec:
        case ConvSpec() | TimeEmbeddingSpec() | AddedEmbeddingSpec() | ContextProjectionSpec() | DownsampleSpec():
            return 0
        case ResidualSpec():
            return 5 * (spec.in_channels + spec.hidden_channels) * spec.size**2
        case TransformerSpec():
            group_normed = spec.channels * spec.size**2 if spec.projection != "none" else 0
            return 5 * (group_normed + layer_normed_numbers(spec)) - attention_products(spec)
        case UpsampleSpec():
            return spec.channels * (2 * spec.size) ** 2
        case NormOutSpec():
            return 5 * spec.channels * spec.size**2
        case _:
            assert_never(spec)


def thop_counts_besides(spec: BlockSpec) -> int:
    """What thop's number has beyond ours: 4 for each number that a LayerNorm sees."""
    return 4 * layer_normed_numbers(spec) - attention_products(spec) if isinstance(spec, TransformerSpec) else 0


@every_block
def test_macs_match_fvcore(spec: BlockSpec) -> None:
    from fvcore.nn import FlopCountAnalysis

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    analysis = FlopCountAnalysis(block(spec), example_inputs(spec))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    assert analysis.total() - macs(spec) == fvcore_counts_besides(spec)


@every_block
def test_macs_match_thop(spec: BlockSpec) -> None:
    import thop

    with contextlib.redirect_stdout(io.StringIO()):
        counted, _ = thop.profile(block(spec), example_inputs(spec), verbose=False)
    assert counted - macs(spec) == thop_counts_besides(spec)


def block(spec: BlockSpec) -> nn.Module:
    return build_block(spec).eval()
