"""Turns a trained folder into an export: what a device, a colleague or Hugging Face can take away.

`deploy.bundle` writes UNet and text encoder as safetensors, ONNX and Core ML; this file adds the whole model as SnapNAS
loads it, the scores, and the part of the card on going from a caption to a picture. An export of the same weights with
the same card is verified and kept, not written again.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from deploy.bundle import ExportModule, export_all
from deploy.model_card import LatencyRow, render_model_card
from deploy.weights import MANIFEST_FILE, verify_manifest, write_manifest
from deploy.whole_folder import whole_folder
from search_space.errors import UsageError
from search_space.version import __version__, dependency_versions
from studies.card import model_card, usage_section
from studies.trained import GRID_FILE, SCORES_FILE, TRAINING_FILE, TrainedWinner
from training.config import SamplingConfig
from training.model import CONFIG_FILE, WEIGHTS_FILE, TextToImage
from training.text_encoder import TextEncoder, token_ids

PATHS_BY_KIND = {
    "arch": "arch.json",
    "weights": WEIGHTS_FILE,
    "config": CONFIG_FILE,
    "diffusers": "unet",
    "onnx": "onnx",
    "core_ml": "core_ml",
    "executorch": "executorch",
    "card": "README.md",
    "grid": GRID_FILE,
    "scores": SCORES_FILE,
    "manifest": MANIFEST_FILE,
}
"""Where each kind of artifact stands in an export; `executorch` only where it was asked for."""

_KEY_FILE = "export.json"


def export_trained(
    trained: TrainedWinner, *, folder: Path, latencies: Sequence[LatencyRow] = (), with_executorch: bool = False
) -> dict[str, Path]:
    """Writes the export of a trained architecture, or verifies the one that is there; under a minute for a tiny UNet.

    Args:
        trained: From `studies.trained`.
        folder: Where the export goes, replaced whole.
        latencies: What the card says about speed; see `studies.card.latency_rows`.
        with_executorch: Whether `.pte` files are written too, which take minutes. An export that has them keeps them.

    Returns:
        The paths that are there, by the keys of `PATHS_BY_KIND`.

    Raises:
        SnapNASError: An exported file does not agree with torch.
    """
    model = trained.load()
    card = model_card(trained, model.arch, latencies)
    usage = usage_section(
        model,
        SamplingConfig(**trained.training["sampling"]),
        example_prompt=trained.training["outcome"]["example_prompt"],
    )
    key = _key(trained, render_model_card(card) + usage)
    if not _is_export_of(folder, key, with_executorch=with_executorch):
        with whole_folder(folder) as new:
            export_all(
                new,
                unet=model.unet,
                other_modules=(text_encoder_module(model),),
                card=card,
                attachments={
                    name: trained.folder / name
                    for name in (WEIGHTS_FILE, CONFIG_FILE, SCORES_FILE, TRAINING_FILE, GRID_FILE)
                },
                with_executorch=with_executorch,
            )
            with (new / "README.md").open("a", encoding="utf-8") as readme:
                readme.write(f"\n{usage}")
            (new / _KEY_FILE).write_text(json.dumps({"key": key}) + "\n")
            write_manifest(new)
    paths = {kind: folder / path for kind, path in PATHS_BY_KIND.items()}
    return {kind: path for kind, path in paths.items() if path.exists()}


def text_encoder_module(model: TextToImage) -> ExportModule:
    """The text encoder from token ids on; words become ids outside of the exported graph."""
    encoder = model.text_encoder
    ids = token_ids(["a red circle"], context_length=encoder.context_length, config=encoder.config)  # [1, L, K]
    return ExportModule(
        name="text_encoder",
        module=_TextEncoderByIds(encoder),
        inputs=(ids,),
        input_names=("token_ids",),
        output_names=("context",),
    )


class _TextEncoderByIds(nn.Module):
    """A text encoder that takes ids `[B, L, K]` in place of captions."""

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: Tensor) -> Tensor:
        return self.encoder.encode_ids(ids)  # [B, L, D]


def _key(trained: TrainedWinner, card: str) -> str:
    """Changes whenever the export would: with the trained files, the card's text, or a version of what writes."""
    parts = [(trained.folder / MANIFEST_FILE).read_text(), card, __version__, *dependency_versions().values()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _is_export_of(folder: Path, key: str, *, with_executorch: bool) -> bool:
    """Whether the folder holds what would be written, unharmed; a damaged export is written again."""
    try:
        verify_manifest(folder)
    except UsageError:
        return False
    if with_executorch and not (folder / PATHS_BY_KIND["executorch"]).exists():
        return False
    key_file = folder / _KEY_FILE
    return key_file.is_file() and json.loads(key_file.read_text()) == {"key": key}
