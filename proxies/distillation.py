"""The distillation proxy: train a candidate for a short while after the teacher, then see what it has learnt.

Every candidate of a study sees the same pictures, noise and timesteps in the same order, and is measured on the same
held-out ones; seed noise would otherwise be as large as the gap between neighbours. What the teacher says at a step is
therefore the same for all of them, and is asked only once for as long as the proxy lives.
"""

import dataclasses
import time
from typing import ClassVar

from proxies.base import AbstractProxy, Direction, ProxyScore, Report
from proxies.config import DistillationProxyConfig
from search_space.arch import ArchConfig
from search_space.counts import count
from search_space.errors import UsageError
from training.config import SpaceToDepthConfig
from training.data.base import CaptionedImages
from training.loop import StepInputs, train
from training.metrics.velocity_error import velocity_error
from training.model import TextToImage, build_text_to_image

_FORWARD_AND_BACKWARD = 3  # a backward pass costs about two forward passes


class DistillationProxy(AbstractProxy):
    """Held-out velocity error after a short, distilled training."""

    name: ClassVar[str] = "distillation"
    direction: ClassVar[Direction] = "minimize"
    unit: ClassVar[str] = "mean squared error"

    def __init__(
        self,
        config: DistillationProxyConfig,
        *,
        data: CaptionedImages,
        codec: SpaceToDepthConfig,
        teacher: TextToImage | None,
    ) -> None:
        if config.training.distillation is not None and teacher is None:
            raise UsageError(
                "the distillation proxy without a teacher",
                allowed="a teacher, or a training config without distillation",
            )
        self._config = config
        self._data = data
        self._codec = codec
        self._teacher = teacher
        self._remembered: dict[int, dict[int, StepInputs]] = {}

    def score(self, arch: ArchConfig, *, seed: int, report: Report | None = None) -> ProxyScore:
        started_s = time.perf_counter()
        intermediate: list[tuple[int, float]] = []
        shift = self._config.training.timestep_shift

        def report_error(step: int, averaged: TextToImage) -> None:
            num_images = self._config.num_report_images
            value = velocity_error(averaged, self._data, num_images=num_images, timestep_shift=shift).mean
            intermediate.append((step, value))
            if report is not None:
                report(step, value)

        model = build_text_to_image(
            arch,
            text_encoder=self._config.text_encoder,
            codec=self._codec,
            prediction=self._config.training.prediction,
            seed=seed,
        )
        result = train(
            model,
            self._data,
            dataclasses.replace(self._config.training, seed=seed),
            teacher=self._teacher,
            remembered=self._remembered.setdefault(seed, {}),
            report=report_error,
            report_every_steps=self._config.report_every_steps,
            description=f"scoring {arch.arch_id}",
        )
        num_images = self._config.num_held_out_images
        error = velocity_error(result.model, self._data, num_images=num_images, timestep_shift=shift)
        details = {f"velocity_error_{index}": value for index, value in enumerate(error.by_timestep)}
        details |= {"training_loss": result.loss, "duration_s": time.perf_counter() - started_s}
        return ProxyScore(value=error.mean, details=details, intermediate=tuple(intermediate), model=result.model)

    def score_macs(self, arch: ArchConfig) -> int:
        """Multiply-adds that `score` is going to spend on training, the teacher's aside: a price without a run."""
        training = self._config.training
        return _FORWARD_AND_BACKWARD * count(arch).macs * training.batch_size * training.num_steps
