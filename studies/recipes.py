"""The studies that come with SnapNAS, each a function returning a `StudyConfig`.

    python -m studies.run              the default, `tiny_on_cpu`
    python -m studies.run smoke        another

A recipe of one's own is one more function here and one more name in `RECIPES`.
"""

import dataclasses
import difflib
from collections.abc import Callable

from proxies.config import DistillationProxyConfig
from search_space.errors import UsageError
from search_space.references import reference
from studies.config import LatencyLimit, LatencyQuantile, Requirements, StudyConfig
from training.config import DistillationConfig, SamplingConfig, SpaceToDepthConfig, TeacherConfig, TrainingConfig
from training.presets import (
    TINY_PROXY_TRAINING,
    TINY_SAMPLING,
    TINY_SCENES_CODEC,
    TINY_TEXT_ENCODER,
    TINY_WINNER_TRAINING,
    tiny_teacher,
)


def tiny_on_cpu() -> StudyConfig:
    """A text-to-image model for this very machine, found, trained and exported without a GPU or a download.

    Command: `python -m studies.run`. About 11 minutes and 1 GiB on two cores: measuring the processor about 105 s,
    the teacher up to 80 s, ten candidates of 10 to 18 s, the winner up to 300 s. The faster half of the space is
    allowed. Ends with a sheet of recognisable scenes; the six-skill score was 0.54 when last measured
    (`benchmarks/default_run.md`).
    """
    return StudyConfig(
        recipe="tiny_on_cpu",
        space="tiny",
        data="scenes",
        image_size=32,
        latency_budget=LatencyQuantile(quantile=0.5),
        num_trials=10,
        num_random_trials=5,
        proxy=DistillationProxyConfig(),
        teacher=tiny_teacher(TINY_SCENES_CODEC),
        winner_training=TINY_WINNER_TRAINING,
        sampling=TINY_SAMPLING,
    )


def smoke() -> StudyConfig:
    """Everything `tiny_on_cpu` does, on a pretend device and with a few training steps: does the house stand?

    Command: `python -m studies.run smoke`. Under a minute, most of it the export. What it trains is noise.
    """
    training = TrainingConfig(num_steps=3, batch_size=4, warm_up_steps=1)
    follow = DistillationConfig(output_weight=1.0)
    return StudyConfig(
        recipe="smoke",
        space="tiny",
        data="scenes",
        image_size=32,
        device="exact",
        latency_budget=LatencyQuantile(quantile=0.5, num_archs=20),
        num_trials=4,
        num_random_trials=2,
        proxy=DistillationProxyConfig(
            training=dataclasses.replace(TINY_PROXY_TRAINING, num_steps=2, batch_size=4, warm_up_steps=1),
            num_held_out_images=8,
            num_report_images=8,
        ),
        teacher=dataclasses.replace(tiny_teacher(TINY_SCENES_CODEC), training=training),
        winner_training=dataclasses.replace(training, distillation=follow),
        sampling=SamplingConfig(steps=2),
        num_score_prompts=6,
        num_grid_prompts=6,
        max_infeasible_in_row=20,
    )


def snapgen_phone() -> StudyConfig:
    """SnapGen's scale: 1024 px, about 380 M parameters, as fast a step as SnapGen's on an iPhone 16 Pro Max.

    Command: `python -m studies.run snapgen_phone --data FOLDER`, with `--device` for a phone that measured itself in
    place of the estimated one. Needs a CUDA GPU with 80 GiB, a captioned folder of 1024 px images, and a 16-channel
    autoencoder that makes 128 x 128 latents; the last is not part of this version, so the run says so and stops.
    """
    training = TrainingConfig(num_steps=200_000, batch_size=64, learning_rate=1e-4, ema_decay=0.9999, precision="bf16")
    follow = DistillationConfig(output_weight=1.0, feature_weight=0.5)
    return StudyConfig(
        recipe="snapgen_phone",
        space="snapgen",
        data="folder",
        image_size=1024,
        device="iphone-16-pro-max",
        latency_budget=LatencyLimit(max_latency_ms=274.0),
        num_trials=200,
        num_random_trials=40,
        proxy=DistillationProxyConfig(
            training=dataclasses.replace(training, num_steps=2000, distillation=follow), num_held_out_images=1024
        ),
        teacher=TeacherConfig(
            arch=reference("snapgen_t2i"),
            text_encoder=TINY_TEXT_ENCODER,
            codec=SpaceToDepthConfig(factor=8),
            training=training,
        ),
        winner_training=dataclasses.replace(training, distillation=follow),
        sampling=SamplingConfig(steps=28, guidance=4.0),
        requirements=Requirements(
            gpu_memory_gib=80,
            missing=("a 16-channel autoencoder in training.latents",),
        ),
    )


RECIPES: dict[str, Callable[[], StudyConfig]] = {
    recipe.__name__: recipe for recipe in (tiny_on_cpu, smoke, snapgen_phone)
}
"""Name -> the function."""


def study_config(recipe: str) -> StudyConfig:
    """The config of the recipe of that name.

    Raises:
        UsageError: There is none.
    """
    if recipe not in RECIPES:
        near = difflib.get_close_matches(recipe, RECIPES, n=1)
        raise UsageError(
            f"unknown recipe {recipe!r}",
            allowed=", ".join(RECIPES),
            fix=f"did you mean {near[0]}?" if near else "give one of these",
        )
    return RECIPES[recipe]()
