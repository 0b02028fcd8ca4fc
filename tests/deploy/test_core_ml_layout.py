"""Split-einsum is the same arithmetic under other shapes, for every choice a transformer has."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from deploy.bundle import unet_module
from deploy.core_ml_layout import SplitEinsumTransformer, split_einsum
from search_space.blocks import build_block, example_inputs
from search_space.specs import TransformerSpec
from tests.deploy.small_unets import own_arch, small_unet, standard_arch

PROJECTIONS = ("conv", "linear", "none")
ATTENTIONS = ((True, True), (True, False), (False, True))
CHOICES = list(itertools.product(ATTENTIONS, ("none", "rms_norm"), (False, True), ("geglu", "gelu")))


def _spec(num_kv_heads, projection, attentions, qk_norm, rope, feed_forward) -> TransformerSpec:
    self_attention, cross_attention = attentions
    return TransformerSpec(
        channels=32,
        size=4,
        depth=2,
        num_heads=4,
        num_kv_heads=num_kv_heads,
        self_attention=self_attention,
        cross_attention=cross_attention,
        qk_norm=qk_norm,
        rope=rope,
        feed_forward=feed_forward,
        hidden_channels=48,
        projection=projection,
        context_width=24 if cross_attention else 0,
        context_length=5 if cross_attention else 0,
        norm_groups=0 if projection == "none" else 8,
        norm_replaces_self_attention=not self_attention,
    )


def _largest_relative_error(module: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    with torch.no_grad():
        expected, found = module(*inputs), split_einsum(module)(*inputs)
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())


def _shake(module: nn.Module) -> None:
    """Norms start as ones and zeros, under which a forgotten weight would not show."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.mark.parametrize("num_kv_heads", [4, 2, 1])
def test_every_transformer_agrees_with_the_plain_one(num_kv_heads: int) -> None:
    torch.manual_seed(0)
    for choices, projection in zip(CHOICES, itertools.cycle(PROJECTIONS)):
        spec = _spec(num_kv_heads, projection, *choices)
        block = build_block(spec).eval()
        _shake(block)
        assert _largest_relative_error(block, example_inputs(spec, 2)) < 1e-5, spec


@pytest.mark.parametrize("arch", [standard_arch(), own_arch()], ids=["standard", "own"])
def test_a_whole_unet_agrees_with_the_plain_one(arch) -> None:
    unet = unet_module(small_unet(arch))
    _shake(unet.module)
    names = [name for name, _ in unet.module.named_modules()]
    assert _largest_relative_error(unet.module.eval(), unet.inputs) < 1e-5
    assert [name for name, _ in unet.module.named_modules()] == names  # the plain one stays as it was


def test_weights_are_shared_not_copied() -> None:
    block = build_block(_spec(2, "linear", (True, True), "none", False, "geglu"))
    twin = split_einsum(block)
    assert isinstance(twin, SplitEinsumTransformer)
    plain = {parameter.data_ptr() for parameter in block.parameters()}
    assert {parameter.data_ptr() for parameter in twin.parameters()} == plain


def test_a_block_without_transformer_stays_itself() -> None:
    block = nn.Conv2d(3, 3, 1)
    assert split_einsum(block) is block
