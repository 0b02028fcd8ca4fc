"""The settings of training, as frozen dataclasses that import no torch.

Recipes, fingerprints and command lines read these, so they have to load at once. Equal configs make equal weights (on
one machine), which is why the hash of a config can name a cached teacher.
"""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Literal

from search_space.arch import ArchConfig
from search_space.errors import UsageError

Precision = Literal["fp32", "bf16", "auto"]
Prediction = Literal["velocity", "image"]
OptimizerName = Literal["adamw", "muon"]


@dataclass(frozen=True, kw_only=True)
class SpaceToDepthConfig:
    """An exact codec: every `factor` x `factor` square of pixels becomes the channels of one latent position."""

    factor: int = 2
    """The side of the square; latents are this much smaller than images."""
    mean: float = 0.0
    """The value of a pixel (in [-1, 1]) that becomes zero."""
    standard_deviation: float = 0.5
    """The spread of pixels that becomes one; flow matching adds noise of spread one to latents."""

    def __post_init__(self) -> None:
        _check(self.factor >= 1, f"codec factor {self.factor}", "an integer from 1")
        _check(self.standard_deviation > 0, f"codec standard_deviation {self.standard_deviation}", "above 0")


@dataclass(frozen=True, kw_only=True)
class TextEncoderConfig:
    """The built-in text encoder; how many tokens and how wide they are is the architecture's to say."""

    num_buckets: int = 2048
    """How many embeddings the words share; every word is the sum of `num_hashes` of them."""
    num_hashes: int = 2
    """Independent hashes a word, so that two words rarely meet in all of them."""
    num_layers: int = 1
    """Transformer layers above the embeddings; zero leaves a bag of positioned words."""
    head_dim: int = 32
    """Width of one attention head; its greatest common divisor with the context width is used."""
    feed_forward_ratio: int = 2
    """Hidden width of the feed-forward network, in context widths."""

    def __post_init__(self) -> None:
        for name in ("num_buckets", "num_hashes", "head_dim", "feed_forward_ratio"):
            value = getattr(self, name)
            _check(value >= 1, f"text encoder {name} {value}", "an integer from 1")
        _check(self.num_layers >= 0, f"text encoder num_layers {self.num_layers}", "an integer from 0")


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """How strongly a student follows its teacher."""

    output_weight: float = 1.0
    """Weight of the teacher's velocity; 0 leaves it out."""
    feature_weight: float = 0.0
    """Weight of the teacher's features, reached through trainable projectors; 0 leaves them out."""
    timestep_aware: bool = True
    """SnapGen's scaling: real data weighs more at middle timesteps, the teacher at both ends."""
    until_fraction: float = 1.0
    """The share of the training after which the teacher is no longer asked."""

    def __post_init__(self) -> None:
        for name in ("output_weight", "feature_weight"):
            value = getattr(self, name)
            _check(value >= 0 and math.isfinite(value), f"distillation {name} {value}", "a finite number from 0")
        _check(0 <= self.until_fraction <= 1, f"distillation until_fraction {self.until_fraction}", "0 to 1")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One training run, whoever is trained: teacher, candidate or winner."""

    num_steps: int = 1000
    """Optimiser steps; the learning rate is back near zero after the last."""
    max_duration_s: float | None = None
    """Wall-clock budget; the schedule hurries so that it ends in time. Such a run is not repeatable bit for bit."""
    batch_size: int = 48
    """Images a step."""
    optimizer: OptimizerName = "adamw"
    """Who updates matrices and kernels; biases, norms, embeddings and the outermost convolutions stay with AdamW."""
    learning_rate: float = 2e-3
    """Peak learning rate; Muon's updates are as large as AdamW's, so one value serves both."""
    weight_decay: float = 0.01
    """Decay of matrices and kernels; biases, norms and embeddings are not decayed."""
    adam_betas: tuple[float, float] = (0.9, 0.99)
    """AdamW's two averaging rates."""
    warm_up_steps: int = 50
    """Steps in which the learning rate rises linearly."""
    final_learning_rate_fraction: float = 0.02
    """What is left of the peak learning rate after the cosine."""
    gradient_clip_norm: float = 1.0
    """Gradients longer than this are shortened to it."""
    ema_decay: float = 0.995
    """How much of the averaged weights stays at every step; the average is what is kept and sampled from."""
    caption_dropout: float = 0.1
    """The share of captions emptied, which teaches the unconditional velocity that guidance needs."""
    timestep_shift: float = 1.0
    """Above 1, timesteps move towards noise, as SD3 does for higher resolutions."""
    prediction: Prediction = "velocity"
    """What the UNet gives: the velocity, or the clean latent that the velocity then follows from."""
    precision: Precision = "fp32"
    """bf16 runs matrix products in bfloat16 (autocast); weights and optimiser stay fp32. auto: where it is fast."""
    seed: int = 0
    """Decides initial weights, data order, noise, timesteps and dropped captions."""
    checkpoint_every_steps: int = 200
    """How often the state is written when a checkpoint folder is given."""
    distillation: DistillationConfig | None = None
    """How to follow a teacher; None trains on data alone."""

    def __post_init__(self) -> None:
        for name in ("num_steps", "batch_size", "checkpoint_every_steps"):
            value = getattr(self, name)
            _check(value >= 1, f"training {name} {value}", "an integer from 1")
        for name in ("learning_rate", "gradient_clip_norm", "timestep_shift"):
            value = getattr(self, name)
            _check(value > 0 and math.isfinite(value), f"training {name} {value}", "a finite number above 0")
        for name in ("ema_decay", "caption_dropout"):
            value = getattr(self, name)
            _check(0 <= value < 1, f"training {name} {value}", "from 0 to below 1")
        _check(self.warm_up_steps >= 0, f"training warm_up_steps {self.warm_up_steps}", "an integer from 0")
        _check(self.precision in ("fp32", "bf16", "auto"), f"training precision {self.precision!r}", "fp32, bf16, auto")
        _check(self.optimizer in ("adamw", "muon"), f"training optimizer {self.optimizer!r}", "adamw, muon")
        _check(self.prediction in ("velocity", "image"), f"training prediction {self.prediction!r}", "velocity, image")
        if self.max_duration_s is not None:
            _check(self.max_duration_s > 0, f"training max_duration_s {self.max_duration_s}", "seconds above 0")


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How pictures are drawn from a trained model."""

    steps: int = 16
    """Euler steps from noise to picture."""
    guidance: float = 3.0
    """Classifier-free guidance; 1 is the conditional model alone."""
    timestep_shift: float = 1.0
    """Above 1, more of the steps are spent near noise."""
    renewal: float = 0.0
    """How much of the noise every step draws anew: 0 is Euler's method; 1 makes fewer mistakes and less variety."""
    seed: int = 0
    """Decides all noise."""

    def __post_init__(self) -> None:
        _check(self.steps >= 1, f"sampling steps {self.steps}", "an integer from 1")
        _check(0 <= self.renewal <= 1, f"sampling renewal {self.renewal}", "0 to 1")
        _check(self.timestep_shift > 0, f"sampling timestep_shift {self.timestep_shift}", "above 0")


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """A teacher, completely but for its data."""

    arch: ArchConfig
    """Its UNet."""
    text_encoder: TextEncoderConfig
    """Its text encoder."""
    codec: SpaceToDepthConfig
    """Its latents; a student has to share them."""
    training: TrainingConfig
    """How it is trained; without distillation."""

    def __post_init__(self) -> None:
        _check(self.training.distillation is None, "a teacher with a teacher", "training.distillation None")


def config_to_json(config: Any) -> str:
    """The sorted, compact, strict JSON of a config dataclass; equal configs give equal text."""
    return json.dumps(dataclasses.asdict(config), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _check(is_allowed: bool, given: str, allowed: str) -> None:
    if not is_allowed:
        raise UsageError(given, allowed=allowed)
