"""The teacher: trained once, found again, and gone on with after a kill."""

import dataclasses
from pathlib import Path

import pytest
import torch

from search_space.errors import UsageError
from tests.training.small import PlainColours, make_arch
from training.config import DistillationConfig, SpaceToDepthConfig, TeacherConfig, TextEncoderConfig, TrainingConfig
from training.data.base import Batch
from training.teacher import load_or_train_teacher, teacher_id

CONFIG = TeacherConfig(
    arch=make_arch(),
    text_encoder=TextEncoderConfig(num_buckets=64, head_dim=8),
    codec=SpaceToDepthConfig(),
    training=TrainingConfig(num_steps=4, batch_size=2, checkpoint_every_steps=1),
)


class Unplugged(Exception):
    """Stands for a kill that a test can survive."""


class CountedColours(PlainColours):
    """Counts the batches asked for; unplugged after some of them."""

    def __init__(self, *, unplugged_after: int | None = None) -> None:
        super().__init__()
        self.num_batches = 0
        self.unplugged_after = unplugged_after

    def train_batch(self, step: int, batch_size: int, *, seed: int) -> Batch:
        if self.num_batches == self.unplugged_after:
            raise Unplugged
        self.num_batches += 1
        return super().train_batch(step, batch_size, seed=seed)


def test_a_teacher_is_trained_once(tmp_path: Path) -> None:
    data = CountedColours()
    first = load_or_train_teacher(data, CONFIG, workspace=tmp_path)
    second = load_or_train_teacher(data, CONFIG, workspace=tmp_path)
    assert data.num_batches == 4
    assert all(torch.equal(own, other) for own, other in zip(first.parameters(), second.parameters(), strict=True))
    assert not any(parameter.requires_grad for parameter in first.parameters())
    assert [path.name for path in (tmp_path / "teachers").iterdir()] == [teacher_id(data, CONFIG)]


def test_a_killed_teacher_goes_on_where_it_was(tmp_path: Path) -> None:
    with pytest.raises(Unplugged):
        load_or_train_teacher(CountedColours(unplugged_after=3), CONFIG, workspace=tmp_path / "killed")
    data = CountedColours()
    resumed = load_or_train_teacher(data, CONFIG, workspace=tmp_path / "killed")
    straight = load_or_train_teacher(CountedColours(), CONFIG, workspace=tmp_path / "straight")
    assert data.num_batches == 1
    assert all(torch.equal(own, other) for own, other in zip(resumed.parameters(), straight.parameters(), strict=True))


def test_everything_that_makes_a_teacher_changes_its_name() -> None:
    data, other_data = PlainColours(), PlainColours(fingerprint="plain-colours-2")
    others = [
        dataclasses.replace(CONFIG, arch=make_arch((16, 24))),
        dataclasses.replace(CONFIG, training=dataclasses.replace(CONFIG.training, seed=1)),
        dataclasses.replace(CONFIG, codec=SpaceToDepthConfig(mean=0.1)),
    ]
    names = {teacher_id(data, CONFIG), teacher_id(other_data, CONFIG), *(teacher_id(data, other) for other in others)}
    assert len(names) == 5


def test_a_teacher_has_no_teacher() -> None:
    with pytest.raises(UsageError, match="a teacher with a teacher"):
        dataclasses.replace(CONFIG, training=TrainingConfig(distillation=DistillationConfig()))
