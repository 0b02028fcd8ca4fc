"""The training loop: the same one for a teacher, a candidate and the winner.

Bit for bit repeatable on one machine: what a step sees (pictures, captions, noise, timesteps, dropped captions) is a
function of the seed and the step's number, never of the architecture or of what ran before. Killed and started again
with the same checkpoint folder, it ends with the very weights of a run that was never interrupted.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from search_space.errors import SnapNASError, UsageError
from search_space.progress import progress
from training.checkpoint import load_newest_checkpoint, save_checkpoint
from training.config import TrainingConfig, config_to_json
from training.data.base import CaptionedImages
from training.distillation import Distiller, TeacherTargets, ask_teacher
from training.flow_matching import interpolate, per_sample_error, sample_timesteps, velocity_target
from training.model import TextToImage
from training.precision import autocast
from training.state import TrainingState

Report = Callable[[int, TextToImage], None]
"""Called with the number of finished steps and the averaged model; may raise to end the training."""

_NUM_LOSSES_AVERAGED = 20


class TrainingDivergedError(SnapNASError):
    """A loss or a gradient stopped being a finite number."""


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a training ends with."""

    model: TextToImage
    """The averaged weights, in evaluation mode: what to keep and to sample from."""
    num_steps: int
    """Steps done, over all runs of a resumed training."""
    loss: float
    """Mean loss of the last steps."""
    duration_s: float
    """Wall time, over all runs of a resumed training."""


@dataclass(frozen=True, kw_only=True)
class StepInputs:
    """What one step learns from."""

    batch: "NoisyBatch"
    """From the data."""
    targets: TeacherTargets | None
    """From the teacher, where one is asked."""


@dataclass(frozen=True, kw_only=True)
class NoisyBatch:
    """What one step sees; the same for every model trained with this seed on this data."""

    latent: Tensor
    """x_t, `[B, C, H, W]`."""
    target: Tensor
    """The velocity to predict, `[B, C, H, W]`."""
    t: Tensor
    """`[B]` in (0, 1)."""
    captions: tuple[str, ...]
    """B captions, some of them emptied."""


def train(
    model: TextToImage,
    data: CaptionedImages,
    config: TrainingConfig,
    *,
    teacher: TextToImage | None = None,
    checkpoint_folder: Path | None = None,
    remembered: dict[int, StepInputs] | None = None,
    report: Report | None = None,
    report_every_steps: int = 50,
    description: str = "training",
) -> TrainingResult:
    """Trains `model` in place and returns its running average.

    Args:
        model: Where to start.
        data: What to learn.
        config: How; `config.distillation` needs a teacher.
        teacher: Whom to follow.
        checkpoint_folder: Where the state is kept, and taken up again from if it is there.
        remembered: What earlier trainings with the same data, config and teacher saw at each step, so that nobody is
            asked again; filled here.
        report: Called every `report_every_steps` steps, and after the last.
        report_every_steps: How often.
        description: What the progress bar says.

    Raises:
        TrainingDivergedError: The loss or a gradient is not finite; checkpoints hold the last good state.
        UsageError: The checkpoints belong to another training.
    """
    distiller = _distiller(model, config, teacher)
    state = TrainingState(model.train(), distiller, config)
    fingerprint = _fingerprint(model, data, config, teacher)
    if checkpoint_folder is not None:
        _resume(state, checkpoint_folder, fingerprint)

    losses: list[float] = []
    started_s = time.perf_counter() - state.elapsed_s
    with _progress(description, state, config) as advance:
        while not _is_done(state, config):
            fraction = _fraction_done(state, config)
            inputs = remembered.get(state.step) if remembered is not None else None
            if inputs is None:
                inputs = _step_inputs(state, data, config, teacher=teacher, fraction=fraction)
            if remembered is not None:
                remembered[state.step] = inputs
            losses.append(_train_step(state, inputs, config, fraction=fraction))
            state.elapsed_s = time.perf_counter() - started_s
            advance(f"step {state.step}, loss {_recent_mean(losses):.4f}")
            is_last = _is_done(state, config)
            if checkpoint_folder is not None and (is_last or state.step % config.checkpoint_every_steps == 0):
                document = {"fingerprint": fingerprint, "elapsed_s": state.elapsed_s}
                save_checkpoint(checkpoint_folder, step=state.step, tensors=state.tensors(), document=document)
            if report is not None and (is_last or state.step % report_every_steps == 0):
                report(state.step, state.averaged)
    return TrainingResult(
        model=state.averaged, num_steps=state.step, loss=_recent_mean(losses), duration_s=state.elapsed_s
    )


def noisy_batch(model: TextToImage, data: CaptionedImages, config: TrainingConfig, *, step: int) -> NoisyBatch:
    """What step number `step` (from 0) sees; of the model only its codec and device matter."""
    batch = data.train_batch(step, config.batch_size, seed=config.seed)
    clean = model.codec.encode(batch.images)  # [B, C, H, W]
    generator = step_generator(config.seed, step)
    noise = torch.randn(clean.shape, generator=generator)  # [B, C, H, W]
    t = sample_timesteps(len(clean), generator=generator, shift=config.timestep_shift)  # [B]
    is_dropped = torch.rand(len(clean), generator=generator) < config.caption_dropout  # [B]
    captions = tuple("" if dropped else text for text, dropped in zip(batch.captions, is_dropped, strict=True))
    return NoisyBatch(
        latent=interpolate(clean, noise, t).to(model.device),
        target=velocity_target(clean, noise).to(model.device),
        t=t.to(model.device),
        captions=captions,
    )


def step_generator(seed: int, step: int) -> torch.Generator:
    """Randomness that depends on seed and step alone."""
    digest = hashlib.sha256(f"training step {step} of seed {seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def learning_rate_at(fraction: float, *, step: int, config: TrainingConfig) -> float:
    """Linear warm-up by step, then a cosine over the fraction of the training that is done (0 to 1)."""
    warm_up = min(1.0, (step + 1) / (config.warm_up_steps + 1))
    floor = config.final_learning_rate_fraction
    cosine = floor + (1 - floor) * (1 + math.cos(math.pi * min(fraction, 1.0))) / 2
    return config.learning_rate * warm_up * cosine


def _step_inputs(
    state: TrainingState, data: CaptionedImages, config: TrainingConfig, *, teacher: TextToImage | None, fraction: float
) -> StepInputs:
    batch = noisy_batch(state.model, data, config, step=state.step)
    distillation = config.distillation
    if teacher is None or distillation is None or fraction >= distillation.until_fraction:
        return StepInputs(batch=batch, targets=None)
    with autocast(state.model.device, config.precision):
        targets = ask_teacher(teacher, batch.latent, batch.t, batch.captions, distillation)
    return StepInputs(batch=batch, targets=targets)


def _train_step(state: TrainingState, inputs: StepInputs, config: TrainingConfig, *, fraction: float) -> float:
    with autocast(state.model.device, config.precision):
        loss = _loss(state, inputs)
    torch.autograd.backward(loss)
    gradient_norm = nn.utils.clip_grad_norm_(state.parameters, config.gradient_clip_norm)
    if not (torch.isfinite(loss) and torch.isfinite(gradient_norm)):
        raise TrainingDivergedError(
            f"training step {state.step}: loss {loss.item()}, gradient norm {gradient_norm.item()}",
            fix="train with a lower learning rate; run again to resume from the last checkpoint",
        )
    state.update(learning_rate=learning_rate_at(fraction, step=state.step, config=config))
    return loss.item()


def _loss(state: TrainingState, inputs: StepInputs) -> Tensor:
    batch = inputs.batch
    context = state.model.encode_text(batch.captions)  # [B, L, D]
    if state.distiller is None or inputs.targets is None:
        return per_sample_error(state.model.velocity(batch.latent, batch.t, context), batch.target).mean()
    velocity, features = state.model.velocity_and_features(batch.latent, batch.t, context)
    task_error = per_sample_error(velocity, batch.target)  # [B]
    return state.distiller.loss(task_error, velocity, features, inputs.targets, batch.t)


def _distiller(model: TextToImage, config: TrainingConfig, teacher: TextToImage | None) -> Distiller | None:
    if config.distillation is None:
        return None
    if teacher is None:
        raise UsageError("distillation without a teacher", fix="give a teacher, or a config without distillation")
    return Distiller(model, teacher, config.distillation, seed=config.seed)


def _fraction_done(state: TrainingState, config: TrainingConfig) -> float:
    by_step = state.step / config.num_steps
    return by_step if config.max_duration_s is None else max(by_step, state.elapsed_s / config.max_duration_s)


def _is_done(state: TrainingState, config: TrainingConfig) -> bool:
    return _fraction_done(state, config) >= 1


@contextmanager
def _progress(description: str, state: TrainingState, config: TrainingConfig) -> Iterator[Callable[[str], None]]:
    """A bar in percent of what is done, by steps or by time; yields what to call after every step, with a note."""

    def percent() -> int:
        return int(100 * min(_fraction_done(state, config), 1))

    shown = percent()
    with progress(description, total=100, unit="%", completed=shown) as bar:

        def advance(note: str) -> None:
            nonlocal shown
            bar.advance(percent() - shown, note=note)
            shown = percent()

        yield advance


def _recent_mean(losses: list[float]) -> float:
    recent = losses[-_NUM_LOSSES_AVERAGED:]
    return sum(recent) / len(recent) if recent else math.nan


def _fingerprint(model: TextToImage, data: CaptionedImages, config: TrainingConfig, teacher: TextToImage | None) -> str:
    parts = {
        "arch": model.arch.to_json(),
        "text_encoder": config_to_json(model.text_encoder.config),
        "codec": config_to_json(model.codec.config),
        "data": data.fingerprint,
        "training": config_to_json(config),
        "teacher": None if teacher is None else teacher.arch.to_json(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _resume(state: TrainingState, folder: Path, fingerprint: str) -> None:
    checkpoint = load_newest_checkpoint(folder)
    if checkpoint is None:
        return
    if checkpoint.document["fingerprint"] != fingerprint:
        raise UsageError(
            f"the checkpoints in {folder} belong to another training",
            allowed="checkpoints of the same architecture, data, settings and teacher",
            fix="give another folder, or remove that one",
        )
    state.load(checkpoint.tensors, step=checkpoint.step, elapsed_s=checkpoint.document["elapsed_s"])
