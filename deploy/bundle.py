"""Writes everything of one finished model into one folder, whole or not at all.

    arch.json                     the architecture
    unet/                         a diffusers model folder
    <name>/model.safetensors      the weights of every other module (the text encoder)
    onnx/<name>.onnx              every module, its numbers compared with torch's
    core_ml/<name>.mlpackage      every module; its numbers are compared on macOS
    executorch/<name>.pte         every module, where that was asked for, its numbers compared with torch's
    README.md                     the model card
    manifest.json                 size and sha256 of every file

A file that does not agree with torch stops the export: nobody should find a wrong model under a right name.
"""

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from deploy.load_unet import ARCH_FILE
from deploy.model_card import ModelCard, ParityRow, write_model_card
from deploy.parity import Parity
from deploy.to_core_ml import export_core_ml
from deploy.to_diffusers import export_diffusers
from deploy.to_executorch import executorch_parity, export_executorch
from deploy.to_onnx import export_onnx, onnx_parity
from deploy.weights import ExportedFile, save_weights, weights_metadata, write_manifest
from deploy.whole_folder import whole_folder
from search_space.errors import SnapNASError
from search_space.progress import progress
from search_space.unet import UNet, UNetByPosition, example_network_inputs


@dataclass(frozen=True, kw_only=True)
class ExportModule:
    """One module of a model, with inputs to run it."""

    name: str
    """Name of its files."""
    module: nn.Module
    """What is exported."""
    inputs: tuple[Tensor, ...]
    """Example inputs, which fix the shapes."""
    input_names: tuple[str, ...]
    """One name per input."""
    output_names: tuple[str, ...]
    """One name per output."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """What an export wrote."""

    folder: Path
    """Where it stands."""
    files: tuple[ExportedFile, ...]
    """Every file with its sha256."""
    parities: tuple[ParityRow, ...]
    """What was compared with torch."""


def unet_module(unet: UNet, *, batch_size: int = 1) -> ExportModule:
    """The UNet with random inputs of the shapes its architecture fixes."""
    inputs = example_network_inputs(unet.arch, batch_size, torch.Generator().manual_seed(0))
    return ExportModule(
        name="unet",
        module=UNetByPosition(unet),
        inputs=tuple(inputs.values()),
        input_names=tuple(inputs),
        output_names=("prediction",),
    )


def export_all(
    folder: Path,
    *,
    unet: UNet,
    other_modules: Sequence[ExportModule] = (),
    card: ModelCard,
    attachments: Mapping[str, Path] | None = None,
    with_executorch: bool = False,
) -> Export:
    """Writes a model into `folder`, which is replaced whole; about a minute for a small UNet.

    Args:
        folder: Where the export goes.
        unet: The trained UNet.
        other_modules: What else the model needs, the text encoder for one.
        card: The model card without parities; they are filled in.
        attachments: Files to copy, by their path in the export: the card's sample image.
        with_executorch: Whether every module is written for ExecuTorch as well, which takes a minute or more.

    Raises:
        SnapNASError: An exported file does not agree with torch.
    """
    modules = (unet_module(unet), *other_modules)
    num_formats = 3 if with_executorch else 2
    metadata = weights_metadata(unet.arch)
    parities: list[ParityRow] = []
    with whole_folder(folder) as new, progress("exporting", total=num_formats * len(modules) + 1, unit="file") as bar:
        new.mkdir()
        (new / ARCH_FILE).write_text(unet.arch.to_json(indent=2) + "\n", encoding="utf-8")
        export_diffusers(unet, new / "unet")
        for other in other_modules:
            save_weights(other.module, new / other.name / "model.safetensors", metadata=metadata)
        bar.advance(1, note="weights")

        for module in modules:
            writers: dict[str, Callable[[ExportModule, Path, Mapping[str, str]], Parity]] = {
                f"onnx/{module.name}.onnx": _write_onnx,
                f"core_ml/{module.name}.mlpackage": _write_core_ml,
            }
            if with_executorch:
                writers[f"executorch/{module.name}.pte"] = _write_executorch
            for file, write in writers.items():
                parity = write(module, new / file, metadata | {"license": card.license, "author": "SnapNAS"})
                if parity.is_checked and not parity.agrees:
                    raise SnapNASError(f"{file} {parity}", fix="report this, with the arch_id " + unet.arch.arch_id)
                parities.append(ParityRow(file=file, parity=parity))
                bar.advance(1, note=file)

        for name, source in (attachments or {}).items():
            shutil.copyfile(source, new / name)
        write_model_card(dataclasses.replace(card, parities=tuple(parities)), new / "README.md")
        manifest = write_manifest(new)
    return Export(folder=folder, files=manifest.files, parities=tuple(parities))


def _write_onnx(module: ExportModule, path: Path, metadata: Mapping[str, str]) -> Parity:
    export_onnx(
        module.module,
        module.inputs,
        path,
        input_names=module.input_names,
        output_names=module.output_names,
        metadata=metadata,
    )
    return onnx_parity(module.module, module.inputs, path)


def _write_core_ml(module: ExportModule, path: Path, metadata: Mapping[str, str]) -> Parity:
    description = f"{module.name} of a text-to-image model found by SnapNAS, {metadata['arch_id']}"
    return export_core_ml(
        module.module,
        module.inputs,
        path,
        input_names=module.input_names,
        output_names=module.output_names,
        metadata=dict(metadata) | {"short_description": description, "version": metadata["snapnas_version"]},
    )


def _write_executorch(module: ExportModule, path: Path, metadata: Mapping[str, str]) -> Parity:
    del metadata  # a .pte has no place for it
    delegation = export_executorch(module.module, module.inputs, path)
    return executorch_parity(module.module, module.inputs, path, delegation)
