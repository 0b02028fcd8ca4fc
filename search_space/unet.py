"""The network: the walk of an architecture, built and run.

`UNet` has no layout of its own. It builds every block of `walk(arch)` under the name the walk gives it, and its
`forward` goes through the same list. Names follow diffusers' `UNet2DConditionModel`, so public checkpoints load with
`load_state_dict`.

Letters: B batch, C channels, S side of the latent, L text tokens, T width of the time embedding.
"""

from pathlib import Path
from typing import assert_never

import torch
from torch import Tensor, nn

from search_space.arch import ArchConfig
from search_space.blocks import build_block
from search_space.diffusers_config import read_diffusers_config
from search_space.errors import UsageError
from search_space.specs import (
    AddedEmbeddingSpec,
    ContextProjectionSpec,
    ConvSpec,
    DownsampleSpec,
    NormOutSpec,
    ResidualSpec,
    TimeEmbeddingSpec,
    TransformerSpec,
    UpsampleSpec,
)
from search_space.walk import PlacedBlock, block_specs, walk

WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"


class UNet(nn.Module):
    """The text-to-image UNet of an architecture."""

    def __init__(self, arch: ArchConfig) -> None:
        super().__init__()
        self.arch = arch
        self.blocks = walk(arch)
        for block in self.blocks:
            _add_module(self, block.name, build_block(block.spec))
        self.skip_sources = frozenset(block.skip_from for block in self.blocks if block.skip_from)
        self.feature_blocks = feature_blocks(self.blocks)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        context: Tensor | None = None,
        size_ids: Tensor | None = None,
        pooled_text: Tensor | None = None,
    ) -> Tensor:
        """Predicts the velocity (or noise) of a latent.

        Args:
            sample: `[B, in_channels, S, S]`, the noisy latent.
            timestep: `[B]`, in 0..1000; fractions are allowed.
            context: `[B, L, context_width]` (or the width ahead of `context_projection`), the text tokens.
            size_ids: `[B, num_size_ids]`, where the architecture has added conditioning.
            pooled_text: `[B, pooled_text_width]`, where the added conditioning has one.

        Returns:
            `[B, out_channels, S, S]`.
        """
        return self.forward_with_features(sample, timestep, context, size_ids, pooled_text)[0]

    def forward_with_features(
        self,
        sample: Tensor,
        timestep: Tensor,
        context: Tensor | None = None,
        size_ids: Tensor | None = None,
        pooled_text: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """As `forward`, with what distillation compares.

        Returns:
            `[B, out_channels, S, S]`, and the output of the middle (if there is one) and of every stage on the way up,
            ahead of its upsampler: `[B, C, S / 2**i, S / 2**i]`, lowest resolution first.
        """
        x = sample
        time = timestep
        outputs: dict[str, Tensor] = {}
        features: list[Tensor] = []

        for block in self.blocks:
            module = self.get_submodule(block.name)
            match block.spec:
                case TimeEmbeddingSpec():
                    time = module(timestep)  # [B, T]
                case AddedEmbeddingSpec():
                    time = time + module(size_ids, pooled_text)  # [B, T]
                case ContextProjectionSpec():
                    context = module(context)  # [B, L, context_width]
                case ResidualSpec():
                    skip = outputs[block.skip_from] if block.skip_from else None
                    x = module(x, time, skip)  # [B, C, S / 2**i, S / 2**i]
                case TransformerSpec():
                    x = module(x, context)
                case ConvSpec() | DownsampleSpec() | UpsampleSpec() | NormOutSpec():
                    x = module(x)
                case _:
                    assert_never(block.spec)
            if block.name in self.skip_sources:
                outputs[block.name] = x
            if block.name in self.feature_blocks:
                features.append(x)

        return x, tuple(features)

    @staticmethod
    def from_diffusers(folder: Path | str) -> "UNet":
        """A network with the weights of a diffusers folder: `config.json` and safetensors.

        Raises:
            UsageError: The config or the weights are missing, or the config asks for what cannot be expressed.
        """
        from safetensors.torch import load_file

        folder = Path(folder)
        if not (folder / "config.json").is_file() or not (folder / WEIGHTS_FILE).is_file():
            raise UsageError(
                f"{folder} is not a diffusers model folder", allowed=f"a folder with config.json and {WEIGHTS_FILE}"
            )
        with torch.device("meta"):
            unet = UNet(read_diffusers_config(folder / "config.json"))
        # Copies, because a file's tensors are not aligned in memory, and on some CPUs that changes the last bit.
        weights = {name: tensor.clone() for name, tensor in load_file(folder / WEIGHTS_FILE).items()}
        try:
            unet.load_state_dict(weights, strict=True, assign=True)
        except RuntimeError as error:
            raise UsageError(
                f"the weights in {folder} do not fit its config: {str(error).splitlines()[1].strip()[:200]}"
            ) from None
        return unet


class UNetByPosition(nn.Module):
    """A UNet that takes by position exactly the inputs that its architecture reads, as exporters want it."""

    def __init__(self, unet: UNet) -> None:
        super().__init__()
        self.unet = unet
        self.input_names = tuple(example_network_inputs(unet.arch))

    def forward(self, *inputs: Tensor) -> Tensor:
        velocity: Tensor = self.unet(**dict(zip(self.input_names, inputs, strict=True)))
        return velocity  # [B, out_channels, S, S]


def example_network_inputs(
    arch: ArchConfig, batch_size: int = 1, generator: torch.Generator | None = None
) -> dict[str, Tensor]:
    """Random inputs for the UNet of an architecture, by name: those it reads and no others."""
    size, added = arch.sample_size, arch.added_conditioning
    text_width = arch.context_projection.in_width if arch.context_projection else arch.context_width
    inputs = {
        "sample": torch.randn(batch_size, arch.in_channels, size, size, generator=generator),
        "timestep": torch.full((batch_size,), 500.0),
    }
    if any(isinstance(spec, TransformerSpec) and spec.cross_attention for spec in block_specs(arch)):
        inputs["context"] = torch.randn(batch_size, arch.context_length, text_width, generator=generator)
    if added is not None:
        inputs["size_ids"] = torch.full((batch_size, added.num_size_ids), 512.0)
        if added.pooled_text_width:
            inputs["pooled_text"] = torch.randn(batch_size, added.pooled_text_width, generator=generator)
    return inputs


def feature_blocks(blocks: tuple[PlacedBlock, ...]) -> frozenset[str]:
    """The last block of the middle and of every stage on the way up, its upsampler aside."""
    last_of_stage: dict[str, str] = {}
    for block in blocks:
        if block.name.startswith(("mid_block", "up_blocks")) and not isinstance(block.spec, UpsampleSpec):
            stage = block.name.partition(".resnets")[0].partition(".attentions")[0]
            last_of_stage[stage] = block.name
    return frozenset(last_of_stage.values())


def _add_module(root: nn.Module, name: str, module: nn.Module) -> None:
    """Adds a module under a dotted name, making the containers on the way."""
    *parents, leaf = name.split(".")
    for parent in parents:
        if parent not in root._modules:
            root.add_module(parent, nn.Module())
        root = root.get_submodule(parent)
    root.add_module(leaf, module)
