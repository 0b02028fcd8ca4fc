"""The data of a study, and its settings with the codec that the data ask for. Needs torch only when called."""

import dataclasses
from typing import TYPE_CHECKING

from studies.config import StudyConfig

if TYPE_CHECKING:  # imports torch
    from training.data.base import CaptionedImages


def open_study_data(config: StudyConfig) -> "tuple[CaptionedImages, StudyConfig]":
    """Opens the data, and fits the teacher's codec to them, which every student shares."""
    from training.data.open_data import open_data
    from training.latents import fitted_codec

    data = open_data(config.data, image_size=config.image_size)
    codec = fitted_codec(data, factor=config.teacher.codec.factor)
    return data, dataclasses.replace(config, teacher=dataclasses.replace(config.teacher, codec=codec))
