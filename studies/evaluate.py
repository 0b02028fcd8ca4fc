"""Scores one architecture: what every executor runs, wherever it runs it.

An `Evaluator` is small until its first call, so that it can be sent to another process; there it opens the data, the
teacher (trained before the search began) and the proxy once, and keeps them for the trials to come. A candidate that
was trained is drawn with, so that a person can see what a score looks like.
"""

import logging
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from proxies.base import AbstractProxy
from proxies.open_proxy import open_proxy
from search_space.arch import ArchConfig
from studies.config import StudyConfig
from studies.results import TrialResult
from studies.trial_folder import trial_folder

if TYPE_CHECKING:  # imports torch
    from training.model import TextToImage

logger = logging.getLogger(__name__)

SAMPLES_FILE = "samples.png"


@dataclass(kw_only=True)
class Evaluator:
    """`evaluator(arch, number)` gives the `TrialResult` of an architecture."""

    config: StudyConfig
    """The study."""
    study_name: str
    """Its name in the database."""
    workspace: Path
    """Where the teacher is kept, and the samples go."""
    num_threads: int | None = None
    """Threads of one evaluation; None leaves that to torch. Several workers have to share the cores."""
    _proxy: AbstractProxy | None = field(default=None, repr=False)
    _prompts: tuple[str, ...] = field(default=(), repr=False)

    def __call__(self, arch: ArchConfig, number: int) -> TrialResult:
        """Scores the architecture of trial `number`; every trial of a study sees the same random numbers."""
        started_s = time.perf_counter()
        if self._proxy is None:
            self._proxy = self._open_proxy()
        score = self._proxy.score(arch, seed=self.config.seed)
        artifacts = {} if score.model is None else self._draw(score.model, number)
        return TrialResult(
            proxy_value=score.value,
            duration_s=time.perf_counter() - started_s,
            host=platform.node(),
            details={**score.details, "intermediate": score.intermediate},
            artifacts=artifacts,
        )

    def _draw(self, model: "TextToImage", number: int) -> dict[str, str]:
        """Draws the trial's samples; returns them as an artifact, or nothing if that fails."""
        from studies.trial_samples import draw_samples

        path = trial_folder(self.workspace, self.study_name, number) / SAMPLES_FILE
        try:
            draw_samples(model, self._prompts, self.config.sampling, path)
        except Exception as error:  # noqa: BLE001 - a trial is worth its score, with a picture or without
            logger.warning("trial %d has no samples: %s: %s", number, type(error).__name__, error)
            return {}
        return {"samples": path.relative_to(self.workspace).as_posix()}

    def _open_proxy(self) -> AbstractProxy:
        if not self.config.needs_data:
            return open_proxy(self.config.proxy)
        import torch

        from training.data.open_data import open_data
        from training.teacher import load_or_train_teacher

        if self.num_threads is not None:
            torch.set_num_threads(self.num_threads)
        data = open_data(self.config.data, image_size=self.config.image_size)
        self._prompts = data.prompts()
        teacher = None
        if self.config.needs_teacher:
            teacher = load_or_train_teacher(data, self.config.teacher, workspace=self.workspace)
        return open_proxy(self.config.proxy, data=data, codec=self.config.teacher.codec, teacher=teacher)
