"""An exported UNet comes back to the bit, with its whole architecture, or not at all."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from deploy.bundle import unet_module
from deploy.load_unet import load_unet
from deploy.to_diffusers import export_diffusers
from deploy.weights import write_manifest
from search_space.arch import ArchConfig
from search_space.errors import UsageError
from search_space.unet import UNet
from tests.deploy.small_unets import own_arch, small_unet, standard_arch


def _export(unet: UNet, folder: Path) -> None:
    (folder / "arch.json").write_text(unet.arch.to_json())
    export_diffusers(unet, folder / "unet")
    write_manifest(folder)


@pytest.mark.parametrize("make_arch", [standard_arch, own_arch])
def test_the_network_comes_back_to_the_bit_with_its_architecture(
    tmp_path: Path, make_arch: Callable[[], ArchConfig]
) -> None:
    unet = small_unet(make_arch())
    _export(unet, tmp_path)
    loaded = load_unet(tmp_path).eval()
    assert loaded.arch == unet.arch
    inputs = unet_module(unet).inputs
    with torch.no_grad():
        assert torch.equal(loaded(*inputs), unet(*inputs))


def test_other_weights_than_those_exported_are_refused(tmp_path: Path) -> None:
    _export(small_unet(own_arch()), tmp_path)
    torch.manual_seed(1)
    export_diffusers(UNet(own_arch()), tmp_path / "unet")
    with pytest.raises(UsageError, match=r"diffusion_pytorch_model.safetensors is not the file that was exported"):
        load_unet(tmp_path)


def test_a_folder_without_a_unet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "arch.json").write_text(own_arch().to_json())
    write_manifest(tmp_path)
    with pytest.raises(UsageError, match="holds no UNet"):
        load_unet(tmp_path)
