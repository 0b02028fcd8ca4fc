"""The teacher: a larger UNet of the same family, trained once for a data set and kept.

    <workspace>/teachers/<hash>/             model.safetensors, text_to_image.json
    <workspace>/teachers/<hash>.training/    checkpoints, while it is being trained

The hash is of everything that made it, so a teacher is never mistaken for another; a killed training goes on where it
was.
"""

import hashlib
import json
import shutil
from pathlib import Path

from training.config import TeacherConfig, config_to_json
from training.data.base import CaptionedImages
from training.loop import train
from training.model import TextToImage, build_text_to_image, load_text_to_image, save_text_to_image

CODE_VERSION = 1
"""Counts up whenever the same config would make another teacher, so that old ones are not taken for new."""


def teacher_id(data: CaptionedImages, config: TeacherConfig) -> str:
    """16 hex digits of the hash of everything that makes a teacher."""
    parts = {"code_version": CODE_VERSION, "data": data.fingerprint, "config": config_to_json(config)}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def load_or_train_teacher(data: CaptionedImages, config: TeacherConfig, *, workspace: Path) -> TextToImage:
    """The teacher of this data set, in evaluation mode and without gradients; trained if there is none yet."""
    folder = workspace / "teachers" / teacher_id(data, config)
    if not folder.exists():
        _train_into(folder, data, config)
    return load_text_to_image(folder).requires_grad_(False)


def _train_into(folder: Path, data: CaptionedImages, config: TeacherConfig) -> None:
    """Leaves either the whole teacher or checkpoints to go on from, whenever it is killed."""
    unfinished = folder.with_name(f"{folder.name}.training")
    model = build_text_to_image(
        config.arch,
        text_encoder=config.text_encoder,
        codec=config.codec,
        prediction=config.training.prediction,
        seed=config.training.seed,
    )
    result = train(
        model,
        data,
        config.training,
        checkpoint_folder=unfinished / "checkpoints",
        description=f"training the teacher for {data.name}",
    )
    save_text_to_image(result.model, unfinished / "model")
    (unfinished / "model").rename(folder)
    shutil.rmtree(unfinished)
