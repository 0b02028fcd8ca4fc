"""A text-to-image model: a UNet, the text encoder it was trained with, and the codec it speaks.

What training makes, proxies score, the sampler draws from and `deploy` exports. On disk it is a folder of
`model.safetensors` and `text_to_image.json`, from which `load_text_to_image` builds it again.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from search_space.arch import ArchConfig
from search_space.arch_json import arch_from_json
from search_space.errors import UsageError
from search_space.unet import UNet
from training.config import Prediction, SpaceToDepthConfig, TextEncoderConfig
from training.latents import open_codec
from training.text_encoder import TextEncoder

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "text_to_image.json"
FORMAT_VERSION = 1

SMALLEST_T = 0.05
"""Below this t, the velocity of a predicted clean latent is computed as if at it, since it divides by t."""

_TIMESTEP_SCALE = 1000.0


class TextToImage(nn.Module):
    """UNet, text encoder and codec.

    Letters: B pictures, C channels, H height, W width of a latent, L text tokens, D context width.
    """

    def __init__(
        self,
        arch: ArchConfig,
        text_encoder: TextEncoderConfig | None = None,
        codec: SpaceToDepthConfig | None = None,
        prediction: Prediction = "velocity",
    ) -> None:
        super().__init__()
        self.arch = arch
        self.prediction = prediction
        self.codec = open_codec(codec or SpaceToDepthConfig())
        _check_arch(arch, num_latent_channels=self.codec.num_channels)
        self.unet = UNet(arch)
        self.text_encoder = TextEncoder(
            text_encoder or TextEncoderConfig(),
            context_length=arch.context_length,
            context_width=arch.context_projection.in_width if arch.context_projection else arch.context_width,
        )

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.arch.in_channels, self.arch.sample_size, self.arch.sample_size

    @property
    def device(self) -> torch.device:
        return self.text_encoder.positions.device

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """The context `[B, L, D]` of B captions; the empty caption's is the unconditional one."""
        context: Tensor = self.text_encoder(captions)
        return context

    def velocity(self, latent: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """The predicted velocity `[B, C, H, W]` at `latent` `[B, C, H, W]` and t `[B]` in [0, 1]."""
        output: Tensor = self.unet(latent, t * _TIMESTEP_SCALE, context)
        return self._to_velocity(output, latent, t)

    def velocity_and_features(self, latent: Tensor, t: Tensor, context: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The velocity, and the outputs of the middle and of every up stage (lowest resolution first)."""
        output, features = self.unet.forward_with_features(latent, t * _TIMESTEP_SCALE, context)
        return self._to_velocity(output, latent, t), features

    def _to_velocity(self, output: Tensor, latent: Tensor, t: Tensor) -> Tensor:
        """x_t = (1 - t) x_0 + t eps and v = eps - x_0, so v = (x_t - x_0) / t.

        A clean latent has far fewer degrees of freedom than noise, which a narrow network cannot pass on from its input
        to a velocity (Li and He, "Back to Basics: Let Denoising Generative Models Denoise", arXiv:2511.13720).
        """
        if self.prediction == "velocity":
            return output
        return (latent - output) / t.clamp(min=SMALLEST_T)[:, None, None, None]  # [B, C, H, W]


def build_text_to_image(
    arch: ArchConfig,
    *,
    text_encoder: TextEncoderConfig | None = None,
    codec: SpaceToDepthConfig | None = None,
    prediction: Prediction = "velocity",
    seed: int,
) -> TextToImage:
    """A new model with random weights decided by `seed` alone; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TextToImage(arch, text_encoder, codec, prediction)


def save_text_to_image(model: TextToImage, folder: Path) -> None:
    """Writes weights and config; a folder that exists is written over."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / f".{WEIGHTS_FILE}")
    (folder / f".{WEIGHTS_FILE}").replace(folder / WEIGHTS_FILE)
    document = {
        "format_version": FORMAT_VERSION,
        "arch": json.loads(model.arch.to_json()),
        "text_encoder": dataclasses.asdict(model.text_encoder.config),
        "codec": dataclasses.asdict(model.codec.config),
        "prediction": model.prediction,
    }
    (folder / CONFIG_FILE).write_text(json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n")


def load_text_to_image(folder: Path) -> TextToImage:
    """The model that `save_text_to_image` wrote, in evaluation mode.

    Raises:
        UsageError: The folder does not hold such a model.
    """
    try:
        document = json.loads((folder / CONFIG_FILE).read_text())
        model = build_text_to_image(
            arch_from_json(json.dumps(document["arch"])),
            text_encoder=TextEncoderConfig(**document["text_encoder"]),
            codec=SpaceToDepthConfig(**document["codec"]),
            prediction=document["prediction"],
            seed=0,
        )
        model.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise UsageError(
            f"{folder} does not hold a text-to-image model: {error}",
            allowed=f"a folder with {CONFIG_FILE} and {WEIGHTS_FILE}, as written by studies.train",
        ) from error
    return model.eval()


def _check_arch(arch: ArchConfig, *, num_latent_channels: int) -> None:
    for field in ("in_channels", "out_channels"):
        if getattr(arch, field) != num_latent_channels:
            raise UsageError(
                f"architecture {arch.arch_id} has {field} {getattr(arch, field)}",
                allowed=f"{num_latent_channels}, the channels of the codec's latents",
            )
    if arch.added_conditioning is not None:
        raise UsageError(
            f"architecture {arch.arch_id} wants pooled text and size ids",
            allowed="architectures without added_conditioning; the built-in text encoder gives tokens only",
        )
