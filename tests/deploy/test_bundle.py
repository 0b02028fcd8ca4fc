"""An export is one whole folder, every file in the manifest, every comparison in the card."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from deploy.bundle import ExportModule, export_all, unet_module
from deploy.load_unet import load_unet
from deploy.model_card import ModelCard
from deploy.to_core_ml import read_core_ml
from deploy.to_onnx import export_onnx, onnx_parity
from deploy.weights import verify_manifest
from search_space.arch import ArchConfig
from search_space.arch_json import arch_from_json
from search_space.errors import SnapNASError
from tests.deploy.small_unets import own_arch, small_unet, standard_arch, textless_arch


@pytest.mark.parametrize("make_arch", [standard_arch, own_arch, textless_arch])
def test_a_whole_unet_as_onnx_agrees_with_torch(tmp_path: Path, make_arch: Callable[[], ArchConfig]) -> None:
    module = unet_module(small_unet(make_arch()), batch_size=2)
    path = tmp_path / "unet.onnx"
    export_onnx(module.module, module.inputs, path, input_names=module.input_names, output_names=module.output_names)
    parity = onnx_parity(module.module, module.inputs, path)
    assert parity.agrees
    assert parity.max_abs_error is not None
    assert parity.max_abs_error < 1e-4


class _TextEncoder(nn.Module):
    """Token ids `[B, L]` to context `[B, L, 16]`."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(100, 16)
        self.norm = nn.LayerNorm(16)

    def forward(self, token_ids: Tensor) -> Tensor:
        context: Tensor = self.norm(self.embeddings(token_ids))
        return context


def _card(arch: ArchConfig) -> ModelCard:
    return ModelCard(
        title="A test", arch=arch, datasets=("scenes",), training="Not trained.", sample_image="samples.png"
    )


def test_an_export_holds_everything_and_verifies(tmp_path: Path) -> None:
    torch.manual_seed(0)
    text_encoder = ExportModule(
        name="text_encoder",
        module=_TextEncoder(),
        inputs=(torch.randint(0, 100, (1, 5)),),
        input_names=("token_ids",),
        output_names=("context",),
    )
    (tmp_path / "grid.png").write_bytes(b"a picture")
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "of an earlier export").touch()
    export = export_all(
        folder,
        unet=small_unet(textless_arch()),
        other_modules=[text_encoder],
        card=_card(textless_arch()),
        attachments={"samples.png": tmp_path / "grid.png"},
    )

    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "grid.png"]
    assert verify_manifest(folder).files == export.files
    package = "Data/com.apple.CoreML"
    assert {file.path for file in export.files} == {
        "README.md",
        "arch.json",
        "samples.png",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        *(f"onnx/{name}.onnx" for name in ("unet", "text_encoder")),
        *(
            f"core_ml/{name}.mlpackage/{part}"
            for name in ("unet", "text_encoder")
            for part in ("Manifest.json", f"{package}/model.mlmodel", f"{package}/weights/weight.bin")
        ),
    }
    assert arch_from_json((folder / "arch.json").read_text()) == textless_arch()
    assert load_unet(folder).arch.arch_id == textless_arch().arch_id
    unet = read_core_ml(folder / "core_ml" / "unet.mlpackage")
    assert unet.input_shapes == {"sample": (1, 4, 8, 8), "timestep": (1,)}
    assert unet.output_shapes == {"prediction": (1, 4, 8, 8)}
    assert unet.metadata["arch_id"] == textless_arch().arch_id
    assert [row.parity.agrees for row in export.parities if row.file.startswith("onnx")] == [True, True]
    card = (folder / "README.md").read_text()
    assert all(f"| {row.file} | {row.parity} |" in card for row in export.parities)


class _Drifting(nn.Module):
    """Gives something else every time: no file can agree with it."""

    def __init__(self) -> None:
        super().__init__()
        self.num_calls = 0

    def forward(self, hidden: Tensor) -> Tensor:
        self.num_calls += 1
        return hidden * self.num_calls


def test_a_file_that_differs_from_torch_stops_the_export_and_leaves_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "old").touch()
    drifting = ExportModule(
        name="drifting",
        module=_Drifting(),
        inputs=(torch.ones(2, 3),),
        input_names=("hidden",),
        output_names=("out",),
    )
    with pytest.raises(SnapNASError, match="onnx/drifting.onnx DIFFERS"):
        export_all(folder, unet=small_unet(textless_arch()), other_modules=[drifting], card=_card(textless_arch()))
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
