"""Writes a UNet as a diffusers model folder: `config.json` and `diffusion_pytorch_model.safetensors`.

Parameter names are diffusers' own, so an architecture that diffusers can express gets diffusers' config and opens with
its `from_pretrained`, to the bit. Any other carries its `ArchConfig` under `_class_name: SnapNASUNet` and opens with
`UNet.from_diffusers`, which opens the first kind as well.
"""

import json
from pathlib import Path
from typing import Any

from deploy.weights import save_weights, weights_metadata
from deploy.whole_folder import whole_folder
from search_space.arch import ArchConfig
from search_space.diffusers_config import OWN_CLASS, to_diffusers_config
from search_space.unet import WEIGHTS_FILE, UNet


def export_diffusers(unet: UNet, folder: Path) -> None:
    """Writes `config.json` and the weights into `folder`, which is replaced whole."""
    with whole_folder(folder) as new_folder:
        new_folder.mkdir()
        config = diffusers_config(unet.arch)
        (new_folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        save_weights(unet, new_folder / WEIGHTS_FILE, metadata=weights_metadata(unet.arch))


def diffusers_config(arch: ArchConfig) -> dict[str, Any]:
    """diffusers' config of an architecture where there is one, ours otherwise."""
    own_config = {"_class_name": OWN_CLASS, "arch": json.loads(arch.to_json())}
    return to_diffusers_config(arch) or own_config
