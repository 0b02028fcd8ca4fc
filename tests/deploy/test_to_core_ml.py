"""A module becomes an ML program whose specification says so; on Linux its numbers are not said to be compared."""

import platform
import warnings
from pathlib import Path

import pytest

from deploy.to_core_ml import export_core_ml, read_core_ml
from tests.deploy.attention_block import block_and_inputs


def test_names_shapes_operators_and_metadata_stand_in_the_package(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    block, inputs = block_and_inputs(num_kv_heads=2)
    path = tmp_path / "block.mlpackage"
    path.mkdir()
    (path / "left over").touch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*invalid escape sequence")  # when coremltools is first compiled
        parity = export_core_ml(
            block,
            inputs,
            path,
            input_names=("hidden", "context"),
            output_names=("grid", "tokens"),
            metadata={"author": "SnapNAS", "version": "0.1.0", "arch_id": "0123456789ab"},
        )
    assert "".join(capfd.readouterr()) == ""
    assert [entry.name for entry in tmp_path.iterdir()] == ["block.mlpackage"]
    assert not (path / "left over").exists()

    description = read_core_ml(path)
    assert description.input_shapes == {"hidden": (2, 32, 8, 8), "context": (2, 5, 32)}
    assert description.output_shapes == {"grid": (2, 32, 16, 16), "tokens": (2, 64, 32)}
    expected = {"conv": 1, "softmax": 1, "matmul": 2, "gelu": 1, "linear": 5, "layer_norm": 1, "cast": 0}
    assert {kind: description.operators[kind] for kind in expected} == expected
    assert description.metadata["author"] == "SnapNAS"
    assert description.metadata["version"] == "0.1.0"
    assert description.metadata["arch_id"] == "0123456789ab"

    assert parity.agrees == parity.is_checked == (platform.system() == "Darwin")
    if platform.system() != "Darwin":
        assert str(parity) == "not run here: Core ML predicts only on macOS"
