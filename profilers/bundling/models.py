"""One block or network as a Core ML package that is fast to write, small to send and as slow to run as any other.

Weights are random, because latency does not depend on them, so they need not be noise to the last bit: every weight is
a short random tile laid end to end, different for each weight, and packs about a hundred times smaller. A runtime
cannot profit from that. The package holds plain dense float16 constants (`check_model` looks), without sparsity,
palettes or any other compressed form, which a Core ML package has to declare; no number is zero or subnormal; and since
no two weights are equal, the converter cannot merge them, so as many bytes are read from memory as ever.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import assert_never

import torch
from torch import Tensor, nn

from deploy.core_ml_layout import split_einsum
from deploy.to_core_ml import CoreMLDescription, write_core_ml
from profilers.bundling.core_ml_choices import Layout
from profilers.subject import Subject
from search_space.arch_json import arch_from_json
from search_space.blocks import build_block, example_inputs
from search_space.counts import num_params
from search_space.errors import SnapNASError
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
    spec_from_key,
)
from search_space.unet import UNet, UNetByPosition, example_network_inputs
from search_space.walk import block_specs

TILE_LENGTH = 251  # prime, so that the rows of a weight differ; short, so that DEFLATE's window of 32 KiB holds many
OUTPUT_NAME = "output"

_MIN_WEIGHT_SHARE = 0.98  # of the parameters; constants below ten numbers stand in the program itself


class ModelError(SnapNASError):
    """A converted model is not the block or network it should be."""


def write_model(subject: Subject, path: Path, *, layout: Layout) -> None:
    """Writes the subject as the package `path`, float16, at batch size 1."""
    module, inputs = _module_and_inputs(subject)
    if layout == "split_einsum":
        module = split_einsum(module)
    write_core_ml(module, inputs, path, input_names=input_names(len(inputs)), output_names=(OUTPUT_NAME,))


def input_names(num_inputs: int) -> tuple[str, ...]:
    return tuple(f"input_{index}" for index in range(num_inputs))


def check_model(subject: Subject, description: CoreMLDescription, *, layout: Layout) -> None:
    """Compares a package's program with the block, or with all blocks of the network, that it was made of.

    Raises:
        ModelError: Shapes, operators or weights are not what they should be.
    """
    with torch.device("meta"):
        match subject.kind:
            case "block":
                specs: Sequence[BlockSpec] = [spec_from_key(subject.text)]
                inputs = example_inputs(specs[0])
            case "network":
                arch = arch_from_json(subject.text)
                specs, inputs = block_specs(arch), tuple(example_network_inputs(arch).values())
    shapes = {name: tuple(tensor.shape) for name, tensor in zip(input_names(len(inputs)), inputs, strict=True)}
    problems = [
        *_differences("inputs", description.input_shapes, shapes),
        *_differences("outputs", description.output_shapes, {OUTPUT_NAME: output_shape(specs[-1])}),
    ]
    expected = Counter[str]()
    for spec in specs:
        expected.update(expected_operators(spec, layout=layout))
    if subject.kind == "network":
        del expected["silu"]  # of the embedding, which is computed once for all residual blocks
    problems += _differences("operators", {name: description.operators[name] for name in expected}, dict(expected))
    if description.weight_types - {"FLOAT16"}:
        problems.append(f"weights are {', '.join(sorted(description.weight_types))}")
    needed_bytes = 2 * sum(map(num_params, specs))
    if description.weight_bytes < _MIN_WEIGHT_SHARE * needed_bytes - 1000 * len(specs):
        problems.append(f"{description.weight_bytes} bytes of weights in place of {needed_bytes}")
    if problems:
        name = specs[0].kind if subject.kind == "block" else "network"
        raise ModelError(f"{name} converted wrongly: {'; '.join(problems)}")


def output_shape(spec: BlockSpec) -> tuple[int, ...]:
    """What a block gives at batch size 1."""
    match spec:
        case ConvSpec():
            return (1, spec.out_channels, spec.size, spec.size)
        case ResidualSpec():
            return (1, spec.out_channels, spec.size, spec.size)
        case TimeEmbeddingSpec() | AddedEmbeddingSpec():
            return (1, spec.out_width)
        case ContextProjectionSpec():
            return (1, spec.length, spec.out_width)
        case TransformerSpec() | NormOutSpec():
            return (1, spec.channels, spec.size, spec.size)
        case DownsampleSpec():
            return (1, spec.channels, spec.size // 2, spec.size // 2)
        case UpsampleSpec():
            return (1, spec.channels, 2 * spec.size, 2 * spec.size)
        case _:
            assert_never(spec)


def expected_operators(spec: BlockSpec, *, layout: Layout) -> dict[str, int]:
    """How often the operators that make up a block's work occur in its program."""
    match spec:
        case ConvSpec():
            return {"conv": 1}
        case TimeEmbeddingSpec() | AddedEmbeddingSpec():
            return {"cos": 1, "sin": 1, "linear": 2, "silu": 1}
        case ContextProjectionSpec():
            return {"linear": 1}
        case ResidualSpec():
            num_shortcuts = int(spec.in_channels != spec.out_channels)
            return {"conv": 2 * _num_convolutions(spec) + num_shortcuts, "linear": 1, "silu": 3}
        case TransformerSpec():
            return _transformer_operators(spec, layout=layout)
        case DownsampleSpec():
            return {"conv": _num_convolutions(spec)}
        case UpsampleSpec():
            return {"upsample_nearest_neighbor": 1, "conv": _num_convolutions(spec)}
        case NormOutSpec():
            return {"silu": 1, "conv": 0}
        case _:
            assert_never(spec)


def _transformer_operators(spec: TransformerSpec, *, layout: Layout) -> dict[str, int]:
    num_attentions = spec.depth * (spec.self_attention + spec.cross_attention)
    num_maps = 4 * num_attentions + 2 * spec.depth  # to queries, keys, values and out; into and out of the feed-forward
    num_projections = 0 if spec.projection == "none" else 2
    match layout:
        case "plain":
            convolved = num_projections if spec.projection == "conv" else 0
            return {
                "softmax": num_attentions,
                "matmul": 2 * num_attentions,
                "linear": num_maps + num_projections - convolved,
                "conv": convolved,
                "gelu": spec.depth,
            }
        case "split_einsum":
            return {
                "softmax": num_attentions * spec.num_heads,
                "linear": 0,
                "conv": num_maps + num_projections,
                "gelu": spec.depth,
            }
        case _:
            assert_never(layout)


def _num_convolutions(spec: ResidualSpec | DownsampleSpec | UpsampleSpec) -> int:
    return 2 if spec.convolution == "separable" else 1


def _differences(what: str, found: object, expected: object) -> Iterable[str]:
    if found != expected:
        yield f"{what} are {found} in place of {expected}"


def _module_and_inputs(subject: Subject) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The module without drawing weights that nobody needs, and inputs of batch size 1."""
    generator = torch.Generator().manual_seed(0)
    module: nn.Module
    match subject.kind:
        case "block":
            spec = spec_from_key(subject.text)
            inputs = example_inputs(spec, generator=generator)
            with torch.device("meta"):
                module = build_block(spec)
        case "network":
            arch = arch_from_json(subject.text)
            inputs = tuple(example_network_inputs(arch, generator=generator).values())
            with torch.device("meta"):
                module = UNetByPosition(UNet(arch))
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    weights = {name: tiled_weight(shape, seed=seed) for seed, (name, shape) in enumerate(shapes.items())}
    module.load_state_dict(weights, assign=True)
    return module.eval().requires_grad_(False), inputs


def tiled_weight(shape: torch.Size, *, seed: int) -> Tensor:
    """A weight of the usual size of its numbers, made of one tile that is drawn from the seed."""
    generator = torch.Generator().manual_seed(seed)
    sign = 2.0 * torch.randint(2, (TILE_LENGTH,), generator=generator) - 1
    tile = sign * (0.1 + 0.9 * torch.rand(TILE_LENGTH, generator=generator))  # [TILE_LENGTH], nothing near zero
    if len(shape) == 1:
        tile = 1 + 0.5 * tile  # norms and biases
    else:
        tile = tile * math.sqrt(3 / (math.prod(shape[1:])))  # keeps the size of what passes through
    num_values = math.prod(shape)
    tile = tile.half().float()  # what float16 can hold, or rounding would be the converter's
    return tile.repeat(math.ceil(num_values / TILE_LENGTH))[:num_values].reshape(shape)
