"""What `studies.train` does with its options: find the architecture and its settings, then train it or load it.

Finding out touches nothing and imports no torch, so `--dry-run` answers at once.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profilers.storage import open_engine
from search_space.arch import ArchConfig
from search_space.arch_json import read_arch_file
from search_space.counts import count
from search_space.errors import UsageError
from studies.config import StudyConfig
from studies.lease import study_lease
from studies.recipes import study_config
from studies.run_options import DEFAULT_RECIPE
from studies.selection import SelectedTrial, open_existing, select_study, select_trial, storage_url, stored_config
from studies.study_data import open_study_data
from studies.train_options import TrainOptions
from studies.trained_artifacts import register_trained
from studies.writer import StudyWriter

if TYPE_CHECKING:
    from studies.trained import TrainedWinner

_IMAGE_CHANNELS = 3


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What is to be trained, how, and where it goes."""

    arch: ArchConfig
    """The architecture."""
    config: StudyConfig
    """How it is trained."""
    folder: Path
    """Where the result goes."""
    trial: SelectedTrial | None
    """Whose architecture it is; None for one from a file."""
    workspace: Path
    """Where the teacher is kept."""
    storage_url: str
    """The database of the trial."""

    def document(self) -> dict[str, Any]:
        """The plan for programs."""
        return {
            "study": self.trial and self.trial.study.name,
            "trial": self.trial and self.trial.number,
            "arch_id": self.arch.arch_id,
            "num_params": count(self.arch).num_params,
            "num_steps": self.config.winner_training.num_steps,
            "max_duration_s": self.config.winner_training.max_duration_s,
            "data": self.config.data,
            "folder": str(self.folder),
        }


def resolve(options: TrainOptions) -> TrainingPlan:
    """What the options ask for; reads, and writes nothing.

    Raises:
        UsageError: They do not go together, or name what is not there.
    """
    url = storage_url(options.storage, options.out)
    if options.arch is not None:
        if options.trial is not None or options.best:
            raise UsageError("--arch and a trial were given", allowed="one of TRIAL, --best and --arch FILE")
        arch, trial = read_arch_file(options.arch), None
        config = study_config(DEFAULT_RECIPE)
        if options.study is not None:
            engine = open_engine(url, read_only=True)
            config = stored_config(select_study(engine, options.study))
        folder = options.out / "archs" / arch.arch_id
    else:
        engine = open_engine(url, read_only=True)
        trial = select_trial(engine, options.study, number=options.trial, is_best=options.best)
        arch, config, folder = trial.arch, stored_config(trial.study), trial.folder(options.out)
    config = _with_options(config, options)
    _check_latents(arch, config)
    return TrainingPlan(
        arch=arch, config=config, folder=folder / "trained", trial=trial, workspace=options.out, storage_url=url
    )


def carry_out(plan: TrainingPlan) -> "TrainedWinner":
    """Trains as planned and registers the result, or loads what an earlier run left.

    Raises:
        UsageError: Another run works on the study, or the folder holds another training.
    """
    if plan.trial is None:
        return _train(plan)
    engine = open_existing(plan.storage_url)
    with study_lease(engine, plan.trial.study.name):
        trained = _train(plan)
        writer = StudyWriter(engine, plan.trial.study.name)
        register_trained(writer, plan.trial.number, trained, workspace=plan.workspace)
    return trained


def _train(plan: TrainingPlan) -> "TrainedWinner":
    from studies.trained import train_winner
    from training.teacher import load_or_train_teacher

    data, config = open_study_data(plan.config)
    teacher = load_or_train_teacher(data, config.teacher, workspace=plan.workspace)
    return train_winner(
        plan.arch, config=config, teacher=teacher, data=data, folder=plan.folder, workspace=plan.workspace
    )


def _with_options(config: StudyConfig, options: TrainOptions) -> StudyConfig:
    """The study's settings with what the flags replace."""
    if options.data is not None:
        config = dataclasses.replace(config, data=options.data)
    if options.steps is not None:
        if options.steps < 1:
            raise UsageError(f"--steps {options.steps}", allowed="an integer from 1")
        training = dataclasses.replace(config.winner_training, num_steps=options.steps, max_duration_s=None)
        config = dataclasses.replace(config, winner_training=training)
    return config


def _check_latents(arch: ArchConfig, config: StudyConfig) -> None:
    """Refuses an architecture for other latents than the study's images become."""
    factor = config.teacher.codec.factor
    channels, size = _IMAGE_CHANNELS * factor**2, config.image_size // factor
    if (arch.in_channels, arch.out_channels, arch.sample_size) != (channels, channels, size):
        raise UsageError(
            f"architecture {arch.arch_id} turns latents of {arch.in_channels} channels and side {arch.sample_size} "
            f"into {arch.out_channels} channels",
            allowed=f"{channels} channels and side {size}, the latents of {config.image_size} px images",
            fix="give an architecture of the study's search space, or another --study",
        )
