"""Distillation: across architectures, and with SnapGen's balance between teacher and data."""

import pytest
import torch
from torch import Tensor

from search_space.arch import ArchConfig
from tests.training.small import make_arch, make_model
from training.config import DistillationConfig
from training.distillation import Distiller, TeacherTargets, ask_teacher, data_share, paired_by_depth, scaled
from training.flow_matching import per_sample_error
from training.model import TextToImage

T = torch.tensor([0.2, 0.5, 0.8])


def _latent(model: TextToImage) -> Tensor:
    return torch.randn(3, *model.latent_shape, generator=torch.Generator().manual_seed(0))


def test_data_weighs_fully_in_the_middle_and_not_at_the_ends() -> None:
    share = data_share(torch.tensor([1e-3, 0.2, 0.5, 0.8, 1 - 1e-3]))
    assert share[2].item() == pytest.approx(1, abs=1e-6)
    assert share[1].item() == pytest.approx(share[3].item(), abs=1e-6)
    assert share[0] < 1e-6 < share[1] < share[2]
    assert share[4] < 1e-6


def test_scaling_makes_the_teacher_as_loud_as_the_data() -> None:
    task = torch.tensor([1.0, 2.0, 3.0])
    quiet, loud = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([10.0, 20.0, 30.0])
    assert torch.allclose(scaled(task, quiet, T), task)
    assert torch.allclose(scaled(task, loud, T), task)


def test_the_scaling_ratio_carries_no_gradient() -> None:
    task, distillation = torch.ones(3), torch.full((3,), 4.0, requires_grad=True)
    scaled(task, distillation, T).sum().backward()
    assert distillation.grad is not None
    assert torch.allclose(distillation.grad, (1 - data_share(T)) / 4)


@pytest.mark.parametrize(
    ("num_student", "num_teacher", "pairs"),
    [(3, 3, [(0, 0), (1, 1), (2, 2)]), (2, 4, [(0, 0), (1, 3)]), (4, 2, [(0, 0), (1, 0), (2, 1), (3, 1)])],
)
def test_features_are_paired_first_with_first_and_last_with_last(
    num_student: int, num_teacher: int, pairs: list[tuple[int, int]]
) -> None:
    assert paired_by_depth(num_student, num_teacher) == pairs


@pytest.mark.parametrize("teacher_arch", [make_arch((16, 32)), make_arch((24,)), make_arch((8, 24, 40))])
@pytest.mark.parametrize("is_timestep_aware", [True, False])
def test_gradients_reach_student_and_projectors_but_never_the_teacher(
    model: TextToImage, teacher_arch: ArchConfig, is_timestep_aware: bool
) -> None:
    config = DistillationConfig(output_weight=1.0, feature_weight=0.5, timestep_aware=is_timestep_aware)
    teacher = make_model(teacher_arch, seed=1)
    distiller = Distiller(model, teacher, config, seed=0)
    latent, captions = _latent(model), ["red", "", "blue"]
    velocity, features = model.velocity_and_features(latent, T, model.encode_text(captions))
    targets = ask_teacher(teacher, latent, T, captions, config)
    loss = distiller.loss(per_sample_error(velocity, torch.zeros_like(velocity)), velocity, features, targets, T)
    loss.backward()
    assert loss.shape == ()
    assert all(parameter.grad is not None for parameter in distiller.parameters())
    assert any(parameter.grad is not None for parameter in model.unet.parameters())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not any(name.startswith("teacher") for name in distiller.state_dict())


def test_without_weights_only_data_counts(model: TextToImage) -> None:
    distiller = Distiller(model, model, DistillationConfig(output_weight=0.0), seed=0)
    task, velocity = torch.tensor([1.0, 2.0, 3.0]), _latent(model)
    assert distiller.loss(task, velocity, (), TeacherTargets(velocity=velocity), T).item() == 2


def test_a_student_equal_to_its_teacher_has_no_output_error(model: TextToImage) -> None:
    config = DistillationConfig(output_weight=1.0, timestep_aware=False)
    latent, captions = _latent(model), ["red", "", "blue"]
    targets = ask_teacher(model, latent, T, captions, config)
    velocity = model.velocity(latent, T, model.encode_text(captions))
    loss = Distiller(model, model, config, seed=0).loss(torch.zeros(3), velocity, (), targets, T)
    assert loss.item() == pytest.approx(0, abs=1e-9)
    assert targets.features == ()
