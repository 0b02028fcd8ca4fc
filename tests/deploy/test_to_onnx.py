"""The ONNX file agrees with torch, whatever attention the block has, and appears whole or not at all."""

import warnings
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from deploy.to_onnx import export_onnx, onnx_parity
from tests.deploy.attention_block import AttentionBlock, block_and_inputs


def _export(block: nn.Module, inputs: tuple[Tensor, ...], path: Path, **options: int) -> None:
    export_onnx(
        block,
        inputs,
        path,
        input_names=("hidden", "context"),
        output_names=("grid", "tokens"),
        metadata={"arch_id": "0123456789ab"},
        **options,
    )


@pytest.mark.parametrize("num_kv_heads", [4, 2, 1])
def test_the_file_agrees_with_torch_for_full_grouped_and_single_heads(tmp_path: Path, num_kv_heads: int) -> None:
    block, inputs = block_and_inputs(num_kv_heads)
    _export(block, inputs, tmp_path / "block.onnx")
    parity = onnx_parity(block, inputs, tmp_path / "block.onnx")
    assert parity.agrees
    assert parity.max_abs_error is not None
    assert parity.max_abs_error < 1e-5


def test_another_modules_file_does_not_agree(tmp_path: Path) -> None:
    block, inputs = block_and_inputs(2)
    _export(block, inputs, tmp_path / "block.onnx")
    torch.manual_seed(1)
    other = AttentionBlock(32, num_heads=4, num_kv_heads=2)
    assert not onnx_parity(other, inputs, tmp_path / "block.onnx").agrees


def test_names_static_shapes_and_metadata_survive(tmp_path: Path) -> None:
    block, inputs = block_and_inputs(2)
    _export(block, inputs, tmp_path / "block.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "block.onnx", providers=["CPUExecutionProvider"])
    assert {graph_input.name: graph_input.shape for graph_input in session.get_inputs()} == {
        "hidden": [2, 32, 8, 8],
        "context": [2, 5, 32],
    }
    assert [(output.name, output.shape) for output in session.get_outputs()] == [
        ("grid", [2, 32, 16, 16]),
        ("tokens", [2, 64, 32]),
    ]
    assert session.get_modelmeta().custom_metadata_map == {"arch_id": "0123456789ab"}


def test_large_weights_stand_beside_the_file_under_a_relative_name(tmp_path: Path) -> None:
    block, inputs = block_and_inputs(2)
    _export(block, inputs, tmp_path / "block.onnx", max_file_size_bytes=10_000)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["block.onnx", "block.onnx.data"]
    graph = onnx.load(tmp_path / "block.onnx", load_external_data=False).graph
    locations = {
        entry.value for weight in graph.initializer for entry in weight.external_data if entry.key == "location"
    }
    assert locations == {"block.onnx.data"}
    (tmp_path / "elsewhere").mkdir()
    for path in list(tmp_path.glob("block.onnx*")):
        path.rename(tmp_path / "elsewhere" / path.name)
    assert onnx_parity(block, inputs, tmp_path / "elsewhere" / "block.onnx").agrees


def test_a_failed_export_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    class Unexportable(nn.Module):
        def forward(self, matrix: Tensor) -> tuple[Tensor, ...]:
            return (torch.linalg.eigvals(matrix),)

    (tmp_path / "block.onnx").write_bytes(b"the file of yesterday")
    with pytest.raises(torch.onnx.errors.OnnxExporterError):
        export_onnx(
            Unexportable(), (torch.eye(3),), tmp_path / "block.onnx", input_names=["matrix"], output_names=["values"]
        )
    assert [path.name for path in tmp_path.iterdir()] == ["block.onnx"]
    assert (tmp_path / "block.onnx").read_bytes() == b"the file of yesterday"


def test_the_modules_training_mode_is_put_back_and_nothing_warns(tmp_path: Path) -> None:
    block, inputs = block_and_inputs(4)
    block.train()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _export(block, inputs, tmp_path / "block.onnx")
        onnx_parity(block, inputs, tmp_path / "block.onnx")
    assert block.training
