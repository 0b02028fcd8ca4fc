"""The training loop: it learns, repeats bit for bit, resumes exactly, and never keeps a broken state."""

import dataclasses
from pathlib import Path

import pytest
import torch

from search_space.errors import UsageError
from tests.training.small import PlainColours, make_arch, make_model
from training.checkpoint import load_newest_checkpoint
from training.config import DistillationConfig, OptimizerName, TrainingConfig
from training.data.base import Batch, CaptionedImages
from training.loop import StepInputs, TrainingDivergedError, learning_rate_at, noisy_batch, train
from training.metrics.velocity_error import velocity_error
from training.model import TextToImage

SHORT = TrainingConfig(num_steps=8, batch_size=4, warm_up_steps=2, checkpoint_every_steps=3)
"""Few steps, and checkpoints after the third, the sixth and the last."""


class Killed(Exception):
    """Stands for a kill that a test can survive."""


def _weights_equal(first: TextToImage, second: TextToImage) -> bool:
    own, other = first.state_dict(), second.state_dict()
    return own.keys() == other.keys() and all(torch.equal(own[name], other[name]) for name in own)


def test_training_lowers_the_held_out_error(data: CaptionedImages) -> None:
    model = make_model()
    before = velocity_error(model.eval(), data, num_images=64).mean
    result = train(model, data, TrainingConfig(num_steps=50, batch_size=8, learning_rate=5e-3, warm_up_steps=5))
    assert velocity_error(result.model, data, num_images=64).mean < 0.7 * before
    assert result.num_steps == 50


def test_two_runs_end_with_the_same_bits(data: CaptionedImages) -> None:
    first, second = (train(make_model(), data, SHORT) for _ in range(2))
    assert _weights_equal(first.model, second.model)
    assert first.loss == second.loss


def test_another_seed_ends_elsewhere(data: CaptionedImages) -> None:
    first = train(make_model(), data, SHORT)
    second = train(make_model(), data, dataclasses.replace(SHORT, seed=1))
    assert not _weights_equal(first.model, second.model)


@pytest.mark.parametrize(("killed_at_step", "optimizer"), [(4, "adamw"), (7, "muon")])
def test_killed_and_resumed_equals_never_interrupted(
    data: CaptionedImages, tmp_path: Path, killed_at_step: int, optimizer: OptimizerName
) -> None:
    config = dataclasses.replace(SHORT, optimizer=optimizer, distillation=DistillationConfig(feature_weight=1.0))
    teacher = make_model(make_arch((16, 24)), seed=9).eval()

    def kill(step: int, model: TextToImage) -> None:
        if step == killed_at_step:
            raise Killed

    straight = train(make_model(), data, config, teacher=teacher, checkpoint_folder=tmp_path / "straight")
    killed = tmp_path / "killed"
    with pytest.raises(Killed):
        train(make_model(), data, config, teacher=teacher, checkpoint_folder=killed, report=kill, report_every_steps=1)
    resumed = train(make_model(seed=3), data, config, teacher=teacher, checkpoint_folder=killed)
    assert resumed.num_steps == 8

    states = [load_newest_checkpoint(tmp_path / name) for name in ("straight", "killed")]
    assert states[0] is not None
    assert states[1] is not None
    assert states[0].tensors.keys() == states[1].tensors.keys()
    assert all(torch.equal(tensor, states[1].tensors[name]) for name, tensor in states[0].tensors.items())
    assert _weights_equal(straight.model, resumed.model)


def test_a_finished_training_is_not_done_again(data: CaptionedImages, tmp_path: Path) -> None:
    first = train(make_model(), data, SHORT, checkpoint_folder=tmp_path)
    steps: list[int] = []
    again = train(
        make_model(seed=3), data, SHORT, checkpoint_folder=tmp_path, report=lambda step, _: steps.append(step)
    )
    assert steps == []
    assert _weights_equal(first.model, again.model)


def test_checkpoints_of_another_training_are_refused(data: CaptionedImages, tmp_path: Path) -> None:
    train(make_model(), data, SHORT, checkpoint_folder=tmp_path)
    with pytest.raises(UsageError, match="belong to another training"):
        train(make_model(), data, dataclasses.replace(SHORT, learning_rate=1e-4), checkpoint_folder=tmp_path)


class BrokenAtStep(PlainColours):
    """Pictures that become infinite."""

    def train_batch(self, step: int, batch_size: int, *, seed: int) -> Batch:
        batch = super().train_batch(step, batch_size, seed=seed)
        return batch if step < 4 else dataclasses.replace(batch, images=batch.images * float("inf"))


def test_a_loss_that_is_not_finite_stops_with_its_step_and_is_never_kept(tmp_path: Path) -> None:
    config = dataclasses.replace(SHORT, checkpoint_every_steps=1)
    with pytest.raises(TrainingDivergedError, match="step 4"):
        train(make_model(), BrokenAtStep(), config, checkpoint_folder=tmp_path)
    checkpoint = load_newest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.step == 4
    assert all(tensor.isfinite().all() for tensor in checkpoint.tensors.values())


def test_every_architecture_sees_the_same_noise(data: CaptionedImages) -> None:
    small, large = make_model(make_arch((16,))), make_model(make_arch((16, 32)))
    first, second = (noisy_batch(model, data, SHORT, step=5) for model in (small, large))
    assert torch.equal(first.latent, second.latent)
    assert torch.equal(first.t, second.t)
    assert first.captions == second.captions


def test_captions_are_dropped_at_the_rate_asked_for(data: CaptionedImages) -> None:
    config = dataclasses.replace(SHORT, batch_size=2000, caption_dropout=0.25)
    captions = noisy_batch(make_model(), data, config, step=0).captions
    assert captions.count("") / 2000 == pytest.approx(0.25, abs=0.04)


def test_the_learning_rate_rises_then_falls() -> None:
    config = TrainingConfig(num_steps=100, learning_rate=1.0, warm_up_steps=10, final_learning_rate_fraction=0.1)
    rates = [learning_rate_at(step / 100, step=step, config=config) for step in range(101)]
    assert rates[:11] == sorted(rates[:11])
    assert rates[11:] == sorted(rates[11:], reverse=True)
    assert max(rates) == pytest.approx(0.98, abs=0.03)
    assert rates[-1] == pytest.approx(0.1)


def test_reports_come_on_time_and_after_the_last_step(data: CaptionedImages) -> None:
    steps: list[int] = []
    train(make_model(), data, SHORT, report=lambda step, _: steps.append(step), report_every_steps=3)
    assert steps == [3, 6, 8]


def test_a_time_budget_ends_a_training_early_with_a_finished_schedule(data: CaptionedImages) -> None:
    config = dataclasses.replace(SHORT, num_steps=1_000_000, max_duration_s=0.5)
    result = train(make_model(), data, config)
    assert result.num_steps < 10_000
    assert result.duration_s == pytest.approx(0.5, abs=1.0)


def test_distillation_without_a_teacher_is_refused(data: CaptionedImages) -> None:
    with pytest.raises(UsageError, match="without a teacher"):
        train(make_model(), data, dataclasses.replace(SHORT, distillation=DistillationConfig()))


def test_remembering_what_the_teacher_said_changes_no_bit(data: CaptionedImages) -> None:
    config = dataclasses.replace(SHORT, distillation=DistillationConfig())
    teacher = make_model(make_arch((16, 24)), seed=9).eval()
    remembered: dict[int, StepInputs] = {}
    results = [train(make_model(), data, config, teacher=teacher, remembered=remembered) for _ in range(2)]
    plain = train(make_model(), data, config, teacher=teacher)
    assert sorted(remembered) == list(range(8))
    assert all(_weights_equal(result.model, plain.model) for result in results)


def test_training_in_bfloat16_keeps_weights_in_float32(data: CaptionedImages) -> None:
    result = train(make_model(), data, dataclasses.replace(SHORT, num_steps=2, precision="bf16"))
    assert {parameter.dtype for parameter in result.model.parameters()} == {torch.float32}
