"""Every block runs alone on its example inputs, and says what its spec says."""

import pytest
import torch
from torch import Tensor

from search_space.blocks import build_block, example_inputs, sinusoids
from search_space.specs import (
    AddedEmbeddingSpec,
    BlockSpec,
    ContextProjectionSpec,
    ConvSpec,
    DownsampleSpec,
    ResidualSpec,
    TimeEmbeddingSpec,
    UpsampleSpec,
)
from tests.search_space.examples import EXAMPLE_SPECS, residual_spec, transformer_spec

every_block = pytest.mark.parametrize("spec", EXAMPLE_SPECS.values(), ids=EXAMPLE_SPECS)


def shape_out(spec: BlockSpec) -> tuple[int, ...]:
    """Shape of one example's output."""
    match spec:
        case ConvSpec() | ResidualSpec():
            return (spec.out_channels, spec.size, spec.size)
        case TimeEmbeddingSpec() | AddedEmbeddingSpec():
            return (spec.out_width,)
        case ContextProjectionSpec():
            return (spec.length, spec.out_width)
        case DownsampleSpec():
            return (spec.channels, spec.size // 2, spec.size // 2)
        case UpsampleSpec():
            return (spec.channels, spec.size * 2, spec.size * 2)
        case _:
            return (spec.channels, spec.size, spec.size)


@every_block
def test_example_inputs_run_and_examples_of_a_batch_do_not_mix(spec: BlockSpec) -> None:
    module = build_block(spec).eval()
    inputs = example_inputs(spec, batch_size=3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = module(*inputs)
        alone = module(*(tensor[1:2] for tensor in inputs))
    assert out.shape == (3, *shape_out(spec))
    assert out.isfinite().all()
    torch.testing.assert_close(alone, out[1:2])


@every_block
def test_example_inputs_are_repeatable(spec: BlockSpec) -> None:
    first, second = (example_inputs(spec, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))


@every_block
def test_every_input_and_every_parameter_matters(spec: BlockSpec) -> None:
    module = build_block(spec)
    inputs = tuple(tensor.requires_grad_() for tensor in example_inputs(spec))
    module(*inputs).square().sum().backward()
    for tensor in (*inputs, *module.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0


def test_sinusoids_are_cosines_then_sines_from_the_fastest_to_the_slowest() -> None:
    waves = sinusoids(torch.tensor([0.0, 1.0]), 8)
    assert torch.equal(waves[0], torch.tensor([1.0] * 4 + [0.0] * 4))
    frequencies = 10000.0 ** -(torch.arange(4) / 4)
    torch.testing.assert_close(waves[1], torch.cat([frequencies.cos(), frequencies.sin()]))


def test_a_residual_block_starts_from_its_input_and_its_skip_side_by_side() -> None:
    spec = residual_spec(in_channels=48, skip_channels=16, out_channels=48, hidden_channels=48)
    block = build_block(spec)
    x, time, skip = example_inputs(spec)
    for parameter in block.conv2.parameters():  # type: ignore[union-attr]
        torch.nn.init.zeros_(parameter)
    torch.testing.assert_close(block(x, time, skip), torch.cat([x, skip], dim=1))


@pytest.mark.parametrize("projection", ["conv", "linear"])
def test_a_transformer_whose_projection_out_is_zero_passes_its_input_on(projection: str) -> None:
    spec = transformer_spec(projection=projection)
    block = build_block(spec)
    for parameter in block.proj_out.parameters():  # type: ignore[union-attr]
        torch.nn.init.zeros_(parameter)
    x, context = example_inputs(spec)
    assert torch.equal(block(x, context), x)


def test_linear_and_convolutional_projections_are_the_same_arithmetic() -> None:
    linear, conv = (build_block(transformer_spec(projection=kind)) for kind in ("linear", "conv"))

    def as_kernel(name: str, weight: Tensor) -> Tensor:
        return weight[:, :, None, None] if name.startswith("proj") and name.endswith("weight") else weight

    conv.load_state_dict({name: as_kernel(name, weight) for name, weight in linear.state_dict().items()})
    inputs = example_inputs(transformer_spec())
    torch.testing.assert_close(linear(*inputs), conv(*inputs))
