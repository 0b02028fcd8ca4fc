"""The presets fit each other and the tiny space."""

from search_space.counts import count
from search_space.space import random_arch
from search_space.spaces import TINY
from training.model import build_text_to_image
from training.presets import (
    TINY_PROXY_TRAINING,
    TINY_SCENES_CODEC,
    TINY_TEXT_ENCODER,
    TINY_WINNER_TRAINING,
    tiny_teacher,
)


def test_the_teacher_speaks_the_students_language_and_is_larger_than_most_of_them() -> None:
    teacher = tiny_teacher(TINY_SCENES_CODEC)
    students = [random_arch(TINY, seed) for seed in range(20)]
    model = build_text_to_image(teacher.arch, text_encoder=TINY_TEXT_ENCODER, codec=TINY_SCENES_CODEC, seed=0)
    assert all(student.in_channels == teacher.arch.in_channels for student in students)
    assert model.latent_shape == (12, 16, 16)
    smaller = [student for student in students if count(student).num_params < count(teacher.arch).num_params]
    assert len(smaller) >= 15


def test_students_follow_the_teacher_and_candidates_all_train_equally_long() -> None:
    assert TINY_PROXY_TRAINING.distillation is not None
    assert TINY_PROXY_TRAINING.max_duration_s is None
    assert TINY_WINNER_TRAINING.distillation is not None
    assert tiny_teacher(TINY_SCENES_CODEC).training.distillation is None
