"""Fully trains one architecture the SnapGen way, scores it, and keeps the result as one folder that proves itself.

    <folder>/model.safetensors      the averaged weights
    <folder>/text_to_image.json     what `training.model.load_text_to_image` builds the model from
    <folder>/scores.json            held-out scores by name
    <folder>/samples.png            sampled pictures with their prompts
    <folder>/training.json          everything that decided the weights
    <folder>/manifest.json          size and sha256 of every file above
    <folder>.checkpoints/           where a killed training goes on from; gone when the folder is there

The folder appears whole or not at all. A second call with the same settings loads it; one with other settings refuses.
"""

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deploy.weights import verify_manifest, write_manifest
from deploy.whole_folder import whole_folder
from search_space.arch import ArchConfig
from search_space.errors import UsageError
from search_space.progress import progress
from studies.config import StudyConfig
from training.checkpoint import remove_checkpoints
from training.config import config_to_json
from training.data.base import CaptionedImages
from training.flow_matching import sample
from training.grid import save_grid
from training.loop import TrainingResult, train
from training.metrics.samples import score_samples
from training.metrics.velocity_error import velocity_error
from training.model import WEIGHTS_FILE, TextToImage, build_text_to_image, load_text_to_image, save_text_to_image
from training.teacher import teacher_id

SCORES_FILE = "scores.json"
GRID_FILE = "samples.png"
TRAINING_FILE = "training.json"


@dataclass(frozen=True, kw_only=True)
class TrainedWinner:
    """A fully trained architecture on disk, its manifest verified."""

    folder: Path
    """Weights, config, scores, samples and manifest."""
    scores: dict[str, float]
    """Held-out scores by name; `velocity_error` always, the data set's own beside it."""
    grid: Path
    """A PNG of sampled pictures with their prompts."""
    training: dict[str, Any]
    """The document of everything that decided the weights."""

    @property
    def weights(self) -> Path:
        """The safetensors file."""
        return self.folder / WEIGHTS_FILE

    def load(self) -> TextToImage:
        """The averaged model, in evaluation mode."""
        return load_text_to_image(self.folder)


def train_winner(
    arch: ArchConfig, *, config: StudyConfig, teacher: TextToImage, data: CaptionedImages, folder: Path, workspace: Path
) -> TrainedWinner:
    """Trains, scores and samples; resumes a killed training, and loads a finished one.

    Args:
        arch: What is trained.
        config: How it is trained, sampled and scored.
        teacher: Whom to follow, made by `config.teacher`; the student has its codec and its kind of text encoder.
        data: What is learned, and what scores.
        folder: Where the result goes.
        workspace: Where the judge of samples keeps itself.

    Raises:
        UsageError: The folder holds another training, or files that are not those that were written.
    """
    checkpoint_folder = folder.with_name(f"{folder.name}.checkpoints")
    decisions = _decisions(arch, config, data)
    if not folder.exists():
        model = build_text_to_image(
            arch,
            text_encoder=config.teacher.text_encoder,
            codec=config.teacher.codec,
            prediction=config.winner_training.prediction,
            seed=config.winner_training.seed,
        )
        result = train(
            model,
            data,
            config.winner_training,
            teacher=teacher,
            checkpoint_folder=checkpoint_folder,
            description=f"training {arch.arch_id}",
        )
        _write(result, data, config, decisions, folder=folder, cache_dir=workspace / "judges")
    trained = load_trained(folder)
    _require_same(trained, decisions)
    remove_checkpoints(checkpoint_folder)
    return trained


def load_trained(folder: Path) -> TrainedWinner:
    """What `train_winner` left in a folder, every file compared with the manifest.

    Raises:
        UsageError: A file is missing or is not the one that was written.
    """
    verify_manifest(folder)
    return TrainedWinner(
        folder=folder,
        scores=json.loads((folder / SCORES_FILE).read_text()),
        grid=folder / GRID_FILE,
        training=json.loads((folder / TRAINING_FILE).read_text()),
    )


def _decisions(arch: ArchConfig, config: StudyConfig, data: CaptionedImages) -> dict[str, Any]:
    """Everything that decides the weights and the scores."""
    return {
        "arch_id": arch.arch_id,
        "training": json.loads(config_to_json(config.winner_training)),
        "sampling": json.loads(config_to_json(config.sampling)),
        "teacher": teacher_id(data, config.teacher),
        "data": {"name": data.name, "fingerprint": data.fingerprint},
        "num_score_prompts": config.num_score_prompts,
        "num_grid_prompts": config.num_grid_prompts,
    }


def _require_same(trained: TrainedWinner, decisions: dict[str, Any]) -> None:
    differing = sorted(key for key in decisions if trained.training.get(key) != decisions[key])
    if differing:
        raise UsageError(
            f"{trained.folder} holds a training with another {', '.join(differing)}",
            allowed="the settings it was trained with",
            fix="remove that folder to train again",
        )


def _write(
    result: TrainingResult,
    data: CaptionedImages,
    config: StudyConfig,
    decisions: dict[str, Any],
    *,
    folder: Path,
    cache_dir: Path,
) -> None:
    """Scores and samples the averaged model, and writes everything as one whole folder."""
    outcome = {
        "num_steps": result.num_steps,
        "duration_s": round(result.duration_s, 1),
        "example_prompt": _plain_words(data.prompts()[0]),
    }
    with whole_folder(folder) as new:
        save_text_to_image(result.model, new)
        scores = _score_and_sample(result.model, data, config, grid=new / GRID_FILE, cache_dir=cache_dir)
        _write_json(new / SCORES_FILE, scores)
        _write_json(new / TRAINING_FILE, decisions | {"outcome": outcome})
        write_manifest(new)


def _score_and_sample(
    model: TextToImage, data: CaptionedImages, config: StudyConfig, *, grid: Path, cache_dir: Path
) -> dict[str, float]:
    """Held-out scores, and the first samples as a picture; the prompts are as varied in any prefix."""
    prompts = data.prompts()[: config.num_score_prompts]
    images = _sampled(model, prompts, config)  # [B, 3, H, W]
    save_grid(images[: config.num_grid_prompts], prompts[: config.num_grid_prompts], grid)
    error = velocity_error(model, data, timestep_shift=config.winner_training.timestep_shift).mean
    return {"velocity_error": error, **score_samples(data, images, prompts, cache_dir=cache_dir)}


def _sampled(model: TextToImage, prompts: Sequence[str], config: StudyConfig) -> Tensor:
    """One picture for each prompt, `[B, 3, H, W]`, sheet by sheet, so that the first sheet depends on nothing else."""
    sheets = []
    with progress("sampling", total=len(prompts), unit="picture") as bar:
        for first in range(0, len(prompts), config.num_grid_prompts):
            sheet = prompts[first : first + config.num_grid_prompts]
            settings = dataclasses.replace(config.sampling, seed=config.sampling.seed + first)
            sheets.append(sample(model, sheet, **dataclasses.asdict(settings)))
            bar.advance(len(sheet))
    return torch.cat(sheets)


def _plain_words(prompt: str) -> str:
    """Only the words of a prompt, so that a model card can quote it whatever a data set's captions hold."""
    return " ".join(re.findall(r"\w+", prompt))


def _write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
