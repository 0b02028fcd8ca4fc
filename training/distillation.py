"""Learning from a teacher: its velocity, its features, and SnapGen's balance between teacher and data.

    L_out  = ||v_teacher - v||^2                              output distillation
    L_feat = ||f_teacher - phi(f)||^2                         feature distillation, phi a trainable projector
    S(L_task, L_kd) = a_t L_task + (1 - a_t) |L_task| / |L_kd| L_kd
    L      = S(L_task, L_out) + S(L_task, L_feat)             SnapGen, arXiv 2412.09619, section 3.2

The paper gives a_t = Phi(rho(t)) with rho the logit-normal density and wants data to weigh more at middle timesteps and
the teacher at both ends; here Phi divides by the largest density, which spans exactly [0, 1]. Student and teacher may
be any two architectures: features are paired by relative depth, projected to the teacher's channels by a 1x1
convolution and resized to its positions.

Letters: B pictures, C channels, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import DistillationConfig
from training.flow_matching import logit_normal_density, per_sample_error
from training.model import TextToImage

_LARGEST_DENSITY = 1.5957691216057308  # logit-normal(0, 1) at t = 1/2: 4 / sqrt(2 pi)


@dataclass(frozen=True, kw_only=True)
class TeacherTargets:
    """What a teacher says about one batch."""

    velocity: Tensor
    """`[B, C, H, W]`."""
    features: tuple[Tensor, ...] = ()
    """Middle and up stages, each `[B, C_i, H_i, W_i]`; empty when features are not distilled."""


@torch.no_grad()
def ask_teacher(
    teacher: TextToImage, latent: Tensor, t: Tensor, captions: Sequence[str], config: DistillationConfig
) -> TeacherTargets:
    """The teacher's velocity, and its features if they have a weight, for `latent` `[B, C, H, W]` and t `[B]`."""
    context = teacher.encode_text(captions)  # [B, L, D]
    if config.feature_weight == 0:
        return TeacherTargets(velocity=teacher.velocity(latent, t, context))
    velocity, features = teacher.velocity_and_features(latent, t, context)
    return TeacherTargets(velocity=velocity, features=features)


def data_share(t: Tensor) -> Tensor:
    """a_t `[B]`: 1 at t = 1/2, falling to 0 at both ends."""
    return logit_normal_density(t) / _LARGEST_DENSITY


def scaled(task_error: Tensor, distillation_error: Tensor, t: Tensor) -> Tensor:
    """S(L_task, L_kd) for every picture, all arguments and the result `[B]`; the ratio carries no gradient."""
    share = data_share(t)  # [B]
    ratio = task_error.detach().mean() / distillation_error.detach().mean().clamp_min(1e-12)
    return share * task_error + (1 - share) * ratio * distillation_error


class Distiller(nn.Module):
    """Joins a student's error on data with its error against a teacher; holds the trainable projectors."""

    def __init__(self, student: TextToImage, teacher: TextToImage, config: DistillationConfig, *, seed: int) -> None:
        super().__init__()
        self.config = config
        self.projectors = nn.ModuleList()
        self.pairs: list[tuple[int, int]] = []
        if config.feature_weight == 0:
            return
        student_widths, teacher_widths = _feature_widths(student), _feature_widths(teacher)
        self.pairs = paired_by_depth(len(student_widths), len(teacher_widths))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for own, other in self.pairs:
                self.projectors.append(nn.Conv2d(student_widths[own], teacher_widths[other], 1))
        self.to(student.device)

    def loss(
        self, task_error: Tensor, velocity: Tensor, features: Sequence[Tensor], targets: TeacherTargets, t: Tensor
    ) -> Tensor:
        """The loss of one batch, a scalar.

        Args:
            task_error: The student's error on data, `[B]`.
            velocity: The student's velocity, `[B, C, H, W]`.
            features: The student's features; read only if features are distilled.
            targets: What the teacher says about the same latents.
            t: `[B]` in (0, 1).
        """
        terms = []
        if self.config.output_weight > 0:
            terms.append((self.config.output_weight, per_sample_error(velocity, targets.velocity)))
        if self.config.feature_weight > 0:
            terms.append((self.config.feature_weight, self._feature_error(features, targets.features)))
        if not terms:
            return task_error.mean()
        if not self.config.timestep_aware:
            errors = [task_error, *(weight * error for weight, error in terms)]
            return torch.stack(errors).sum(0).mean()
        total_weight = sum(weight for weight, _ in terms)
        errors = [weight / total_weight * scaled(task_error, error, t) for weight, error in terms]
        return torch.stack(errors).sum(0).mean()

    def _feature_error(self, features: Sequence[Tensor], teacher_features: Sequence[Tensor]) -> Tensor:
        """Relative squared error `[B]`, averaged over the pairs: 1 is as good as predicting zero."""
        errors = []
        for (own, other), projector in zip(self.pairs, self.projectors, strict=True):
            target = teacher_features[other].float()  # [B, C_teacher, H_teacher, W_teacher]
            projected = _resize(projector(features[own]), target.shape[-2:])  # as the target
            errors.append(per_sample_error(projected, target) / target.square().mean())
        return torch.stack(errors).mean(0)


def paired_by_depth(num_student: int, num_teacher: int) -> list[tuple[int, int]]:
    """Pairs every student feature with the teacher's at the same relative depth; first with first, last with last."""
    steps = max(num_student - 1, 1)
    return [(own, round(own * (num_teacher - 1) / steps)) for own in range(num_student)]


def _resize(features: Tensor, size: Sequence[int]) -> Tensor:
    if features.shape[-2:] == tuple(size):
        return features
    return functional.interpolate(features, size=list(size), mode="bilinear", antialias=True)


@torch.no_grad()
def _feature_widths(model: TextToImage) -> list[int]:
    latent = torch.zeros(1, *model.latent_shape, device=model.device)  # [1, C, H, W]
    t = torch.full((1,), 0.5, device=model.device)  # [1]
    _, features = model.velocity_and_features(latent, t, model.encode_text([""]))
    return [feature.shape[1] for feature in features]
