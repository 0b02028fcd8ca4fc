"""The network runs whatever its architecture says."""

import pytest
import torch

from search_space.arch import AddedConditioning, ArchConfig, ContextProjection, PathConfig
from search_space.counts import count
from search_space.space import random_arch
from search_space.spaces import TINY
from search_space.unet import UNet
from search_space.walk import walk
from tests.search_space.examples import BOTH, NO_MIDDLE, PLAIN, small_arch, small_stage


def plain(num_blocks: int) -> PathConfig:
    return PathConfig(transformer_depths=(0,) * num_blocks)


def run(arch: ArchConfig, *, batch_size: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(batch_size, arch.in_channels, arch.sample_size, arch.sample_size, generator=generator)
    context = torch.randn(batch_size, arch.context_length, arch.context_width, generator=generator)
    with torch.no_grad():
        out: torch.Tensor = UNet(arch).eval()(sample, torch.tensor([3.0, 700.5]), context)
    return out


@pytest.mark.parametrize(("down", "up"), [(1, 1), (1, 4), (3, 1), (2, 3)])
def test_any_number_of_blocks_runs_on_both_ways(down: int, up: int) -> None:
    arch = small_arch(
        small_stage(down=plain(down), up=plain(up)), small_stage(channels=64, down=plain(down), up=plain(up))
    )
    assert run(arch).shape == (2, 4, 8, 8)


@pytest.mark.parametrize("mid", [NO_MIDDLE, PLAIN, BOTH, PathConfig(transformer_depths=(2, 0), self_attention=True)])
def test_any_middle_runs(mid: PathConfig) -> None:
    assert run(small_arch(mid=mid, out_channels=6)).shape == (2, 6, 8, 8)


def test_a_single_stage_runs() -> None:
    assert run(small_arch(small_stage())).shape == (2, 4, 8, 8)


def test_module_names_are_those_of_the_walk() -> None:
    arch = random_arch(TINY, 0)
    unet = UNet(arch)
    parameters = [name for name, _ in unet.named_parameters()]
    for block in walk(arch):
        assert any(name.startswith(f"{block.name}.") for name in parameters)
    assert sum(parameter.numel() for parameter in unet.parameters()) == count(arch).num_params


def test_features_are_the_middle_and_every_stage_on_the_way_up() -> None:
    arch = small_arch(small_stage(up=plain(2)), small_stage(channels=64, up=BOTH), small_stage(channels=96))
    unet = UNet(arch).eval()
    inputs = (torch.randn(2, 4, 8, 8), torch.tensor([10.0, 20.0]), torch.randn(2, 7, 24))
    with torch.no_grad():
        out, features = unet.forward_with_features(*inputs)
        assert torch.equal(out, unet(*inputs))
    shapes = [tuple(feature.shape[1:]) for feature in features]
    assert shapes == [(96, 2, 2), (96, 2, 2), (64, 4, 4), (32, 8, 8)]


def test_features_without_a_middle_are_one_for_each_stage() -> None:
    unet = UNet(small_arch(mid=NO_MIDDLE))
    _, features = unet.forward_with_features(torch.randn(1, 4, 8, 8), torch.zeros(1), torch.randn(1, 7, 24))
    assert [tuple(feature.shape[1:]) for feature in features] == [(64, 4, 4), (32, 8, 8)]


@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_reach_every_parameter(seed: int) -> None:
    arch = random_arch(TINY, seed)
    torch.manual_seed(0)
    unet = UNet(arch)
    out = unet(torch.randn(2, 12, 16, 16), torch.tensor([100.0, 900.0]), torch.randn(2, 16, 96))
    out.square().mean().backward()
    for name, parameter in unet.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_text_time_and_sizes_all_change_the_output() -> None:
    torch.manual_seed(0)
    arch = small_arch(
        added_conditioning=AddedConditioning(pooled_text_width=20, num_size_ids=6, size_id_width=8),
        context_projection=ContextProjection(in_width=10, norm="rms_norm"),
    )
    unet = UNet(arch).eval()
    inputs = (
        torch.randn(1, 4, 8, 8),
        torch.tensor([500.0]),
        torch.randn(1, 7, 10),
        torch.ones(1, 6),
        torch.ones(1, 20),
    )
    with torch.no_grad():
        out = unet(*inputs)
        for changed in range(len(inputs)):
            others = tuple(value * 2 if index == changed else value for index, value in enumerate(inputs))
            assert not torch.allclose(unet(*others), out, atol=1e-6), changed


def test_the_number_of_text_tokens_is_not_fixed_by_the_weights() -> None:
    unet = UNet(small_arch()).eval()
    assert unet(torch.randn(1, 4, 8, 8), torch.zeros(1), torch.randn(1, 20, 24)).shape == (1, 4, 8, 8)
