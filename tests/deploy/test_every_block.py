"""Every variant of a block of the tiny space becomes ONNX that agrees; every choice converts to Core ML."""

import dataclasses
from pathlib import Path

import pytest
import torch

from deploy.bundle import unet_module
from deploy.to_core_ml import export_core_ml, read_core_ml
from deploy.to_onnx import export_onnx, onnx_parity
from search_space.arch import ArchConfig
from search_space.blocks import build_block, example_inputs
from search_space.space import reachable_specs
from search_space.spaces import SPACES
from search_space.specs import BlockSpec, TransformerSpec
from tests.deploy.small_unets import own_arch, small_unet, standard_arch


def _variant(spec: BlockSpec) -> str:
    """A block's kind and every choice between kinds in it, its sizes aside."""
    fields = dataclasses.asdict(spec)
    choices = [value for value in fields.values() if isinstance(value, str)]
    choices += [name for name, value in fields.items() if value is True]
    if "num_kv_heads" in fields:
        shares = fields["num_heads"] // fields["num_kv_heads"]
        choices.append("mhsa" if shares == 1 else "mqa" if fields["num_kv_heads"] == 1 else "gqa")
    return ",".join((spec.kind, *choices))


ONE_OF_EACH = {_variant(spec): spec for spec in sorted(reachable_specs(SPACES["tiny"]), key=repr)}


def _covering() -> list[str]:
    """Variants in which every choice of every kind occurs; converting all of them takes minutes."""
    seen: set[tuple[str, str]] = set()
    chosen = []
    for variant in ONE_OF_EACH:
        kind, *choices = variant.split(",")
        pairs = {(kind, choice) for choice in (kind, *choices)}
        if not pairs <= seen:
            seen |= pairs
            chosen.append(variant)
    return chosen


def _names(inputs: tuple[torch.Tensor, ...]) -> list[str]:
    return [f"input_{index}" for index in range(len(inputs))]


@pytest.mark.parametrize("variant", ONE_OF_EACH)
def test_a_block_as_onnx_agrees_with_torch(tmp_path: Path, variant: str) -> None:
    torch.manual_seed(0)
    spec = ONE_OF_EACH[variant]
    block, inputs = build_block(spec), example_inputs(spec)
    path = tmp_path / "block.onnx"
    export_onnx(block, inputs, path, input_names=_names(inputs), output_names=["output"])
    parity = onnx_parity(block, inputs, path)
    assert parity.max_abs_error is not None
    assert parity.max_abs_error < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("variant", _covering())
def test_a_block_converts_to_core_ml(tmp_path: Path, variant: str) -> None:
    torch.manual_seed(0)
    spec = ONE_OF_EACH[variant]
    block, inputs = build_block(spec), example_inputs(spec)
    path = tmp_path / "block.mlpackage"
    parity = export_core_ml(block, inputs, path, input_names=_names(inputs), output_names=["output"])
    assert parity.agrees or not parity.is_checked
    with torch.no_grad():
        output = block(*inputs)
    description = read_core_ml(path)
    assert description.input_shapes == {
        name: tuple(tensor.shape) for name, tensor in zip(_names(inputs), inputs, strict=True)
    }
    assert description.output_shapes == {"output": tuple(output.shape)}


@pytest.mark.slow
@pytest.mark.parametrize("arch", [standard_arch(), own_arch()], ids=["standard", "own"])
def test_a_whole_unet_converts_to_core_ml(tmp_path: Path, arch: ArchConfig) -> None:
    module = unet_module(small_unet(arch))
    path = tmp_path / "unet.mlpackage"
    parity = export_core_ml(
        module.module, module.inputs, path, input_names=module.input_names, output_names=module.output_names
    )
    assert parity.agrees or not parity.is_checked
    description = read_core_ml(path)
    assert description.input_shapes == {"sample": (1, 4, 8, 8), "timestep": (1,), "context": (1, 5, 16)}
    assert description.output_shapes == {"prediction": (1, 4, 8, 8)}
    assert description.operators["softmax"] == 2 * sum(
        block.spec.depth if block.spec.self_attention and block.spec.cross_attention else block.spec.depth / 2
        for block in small_unet(arch).blocks
        if isinstance(block.spec, TransformerSpec)
    )
