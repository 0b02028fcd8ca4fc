"""Which proxies there are, as frozen dataclasses that import no torch: what a study stores in its fingerprint."""

from dataclasses import dataclass, field
from typing import ClassVar

from search_space.errors import UsageError
from training.config import TextEncoderConfig, TrainingConfig
from training.presets import TINY_PROXY_TRAINING, TINY_TEXT_ENCODER

NUM_TIMESTEP_SLICES = 8
"""Into so many slices the held-out error is resolved; each needs a picture."""


@dataclass(frozen=True, kw_only=True)
class DistillationProxyConfig:
    """Held-out velocity error after a short training that follows the teacher."""

    name: ClassVar[str] = "distillation"

    training: TrainingConfig = field(default=TINY_PROXY_TRAINING)
    """The short training; its seed is replaced by the trial's. With `distillation` None no teacher is needed."""
    text_encoder: TextEncoderConfig = field(default=TINY_TEXT_ENCODER)
    """The candidate's text encoder, trained along."""
    num_held_out_images: int = 128
    """Pictures the error is measured on at the end."""
    report_every_steps: int = 20
    """How often the error so far is measured and reported."""
    num_report_images: int = 32
    """Pictures such a report is measured on."""

    def __post_init__(self) -> None:
        for name in ("num_held_out_images", "report_every_steps", "num_report_images"):
            value = getattr(self, name)
            smallest = 1 if name == "report_every_steps" else NUM_TIMESTEP_SLICES
            if value < smallest:
                raise UsageError(f"distillation proxy {name} {value}", allowed=f"an integer from {smallest}")
        if self.training.max_duration_s is not None:
            raise UsageError(
                f"distillation proxy with max_duration_s {self.training.max_duration_s}",
                allowed="None: candidates that get different numbers of steps cannot be compared",
            )


@dataclass(frozen=True, kw_only=True)
class NumParamsProxyConfig:
    """More parameters promise more quality."""

    name: ClassVar[str] = "num_params"


@dataclass(frozen=True, kw_only=True)
class MacsProxyConfig:
    """More multiply-adds promise more quality."""

    name: ClassVar[str] = "macs"


ProxyConfig = DistillationProxyConfig | NumParamsProxyConfig | MacsProxyConfig

PROXY_CONFIGS: dict[str, ProxyConfig] = {
    config.name: config for config in (DistillationProxyConfig(), NumParamsProxyConfig(), MacsProxyConfig())
}
"""Name -> the proxy with its default settings."""


def proxy_config(name: str) -> ProxyConfig:
    """The proxy of that name, with its default settings.

    Raises:
        UsageError: There is none.
    """
    if name not in PROXY_CONFIGS:
        raise UsageError(f"no proxy is called {name!r}", allowed=", ".join(PROXY_CONFIGS))
    return PROXY_CONFIGS[name]
