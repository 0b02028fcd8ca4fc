"""An exported folder opens in diffusers, to the bit, where diffusers can express it, and in SnapNAS always."""

import json
from pathlib import Path

import torch
from torch import nn

from deploy.bundle import unet_module
from deploy.to_diffusers import export_diffusers
from search_space.arch import ArchConfig
from search_space.arch_json import arch_from_json
from search_space.unet import UNet
from tests.deploy.small_unets import own_arch, small_unet, standard_arch


def test_diffusers_opens_an_expressible_network_and_gives_the_same_bits(tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel

    unet = small_unet(standard_arch())
    export_diffusers(unet, tmp_path / "unet")
    theirs = UNet2DConditionModel.from_pretrained(tmp_path, subfolder="unet", local_files_only=True)
    ours = UNet.from_diffusers(tmp_path / "unet")
    sample, timestep, context = unet_module(unet, batch_size=2).inputs
    with torch.no_grad():
        expected = unet(sample, timestep, context)
        for loaded in (theirs, ours):
            assert torch.equal(_with_weights_of(loaded, standard_arch())(sample, timestep, context), expected)
        torch.testing.assert_close(theirs(sample, timestep, context).sample, expected, atol=1e-6, rtol=0)


def _with_weights_of(loaded: nn.Module, arch: ArchConfig) -> UNet:
    """The network with copies of loaded weights: those in a file's memory are not aligned, which moves last bits."""
    unet = UNet(arch).eval()
    unet.load_state_dict(loaded.state_dict(), strict=True)
    return unet


def test_a_network_of_our_own_carries_its_arch_and_opens_to_the_bit(tmp_path: Path) -> None:
    unet = small_unet(own_arch())
    export_diffusers(unet, tmp_path / "unet")
    config = json.loads((tmp_path / "unet" / "config.json").read_text())
    assert config["_class_name"] == "SnapNASUNet"
    assert arch_from_json(json.dumps(config["arch"])) == own_arch()
    inputs = unet_module(unet).inputs
    with torch.no_grad():
        reloaded = _with_weights_of(UNet.from_diffusers(tmp_path / "unet"), own_arch())
        assert torch.equal(reloaded(*inputs), unet(*inputs))
