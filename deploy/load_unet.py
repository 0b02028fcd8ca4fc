"""Opens the UNet of an exported folder, after every file in it was compared with the manifest."""

from pathlib import Path

from safetensors.torch import load_file

from deploy.weights import verify_manifest
from search_space.arch_json import arch_from_json
from search_space.errors import UsageError
from search_space.unet import WEIGHTS_FILE, UNet

ARCH_FILE = "arch.json"
"""The architecture completely; diffusers' config does not know the number of text tokens, which decides latency."""


def load_unet(folder: Path) -> UNet:
    """The network with the exported weights, to the bit.

    Raises:
        UsageError: A file of the folder is missing or is not the one that was exported.
    """
    weights = f"unet/{WEIGHTS_FILE}"
    files = {file.path for file in verify_manifest(folder).files}
    if not {ARCH_FILE, weights} <= files:
        raise UsageError(f"{folder} holds no UNet", allowed=f"a folder with {ARCH_FILE} and {weights}")
    unet = UNet(arch_from_json((folder / ARCH_FILE).read_bytes()))
    # Copied, not assigned: a file's own memory is not aligned, which is slower and moves last bits.
    unet.load_state_dict(load_file(folder / weights), strict=True)
    return unet
