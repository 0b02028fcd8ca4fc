"""The digit classifier knows real digits, and the Fréchet distance is the one of the textbook."""

from pathlib import Path

import pytest
import torch

from search_space.errors import UsageError
from training.data.digits import Digits
from training.metrics.digits import (
    digit_in_prompt,
    frechet_distance,
    frechet_distance_of_features,
    load_or_train_classifier,
    score_digits,
)


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with the classifier of 32-pixel digits in it."""
    folder = tmp_path_factory.mktemp("cache")
    load_or_train_classifier(Digits(), folder)
    return folder


def test_at_least_97_percent_of_held_out_digits_are_recognised(cache_dir: Path) -> None:
    data = Digits()
    held_out = data.held_out_batch(0, 359)
    scores = score_digits(data, held_out.images, held_out.captions, cache_dir=cache_dir)
    assert scores.accuracy >= 0.97
    assert len(scores.recognised) == 359


def test_wrong_prompts_and_noise_score_at_chance_or_below(cache_dir: Path) -> None:
    data = Digits()
    held_out = data.held_out_batch(0, 359)
    shifted = held_out.captions[1:] + held_out.captions[:1]
    assert score_digits(data, held_out.images, shifted, cache_dir=cache_dir).accuracy < 0.2
    noise = torch.randn(held_out.images.shape, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    assert score_digits(data, noise, held_out.captions, cache_dir=cache_dir).accuracy < 0.2


def test_real_digits_are_nearer_to_real_digits_than_noise_or_a_single_digit(cache_dir: Path) -> None:
    data = Digits()
    held_out = data.held_out_batch(0, 200)
    prompts = held_out.captions
    noise = torch.randn(held_out.images.shape, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    only_ones = data.train_images[data.train_labels == 1][:100].repeat(2, 1, 1, 1)
    real, false, poor = (
        score_digits(data, images, prompts, cache_dir=cache_dir).frechet.value
        for images in (held_out.images, noise, only_ones)
    )
    assert 10 * real < min(false, poor)


def test_a_cached_classifier_is_not_trained_again(cache_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path.stat().st_mtime_ns for path in cache_dir.iterdir())
    load_or_train_classifier(Digits(), cache_dir)
    assert sorted(path.stat().st_mtime_ns for path in cache_dir.iterdir()) == before
    assert capsys.readouterr().err == ""


def test_a_truncated_cache_file_is_replaced_by_the_same_weights_bit_for_bit(
    cache_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (original,) = cache_dir.iterdir()
    (tmp_path / original.name).write_bytes(original.read_bytes()[:-100])
    load_or_train_classifier(Digits(), tmp_path)
    assert "cannot be read" in caplog.text
    assert (tmp_path / original.name).read_bytes() == original.read_bytes()


def test_frechet_distance_of_commuting_gaussians_has_a_closed_form() -> None:
    mean_a, mean_b = torch.tensor([1.0, 2.0, 0.0]).double(), torch.tensor([0.0, 2.0, 2.0]).double()
    spread_a, spread_b = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([4.0, 4.0, 1.0]).double()
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).double())[0]
    covariances = [rotation @ spread.diag() @ rotation.T for spread in (spread_a, spread_b)]
    # |m_a - m_b|^2 = 5, and (1 - 2)^2 + (2 - 2)^2 + (3 - 1)^2 = 5 from the standard deviations.
    assert frechet_distance(mean_a, covariances[0], mean_b, covariances[1]) == pytest.approx(10, abs=1e-9)


def test_frechet_distance_agrees_with_the_matrix_square_root() -> None:
    generator = torch.Generator().manual_seed(1)
    factors = [torch.randn(4, 4, generator=generator).double() for _ in range(2)]
    one, other = (factor @ factor.T for factor in factors)
    values = torch.linalg.eigvals(one @ other)  # real and positive, though the product is not symmetric
    expected = one.trace() + other.trace() - 2 * values.real.sqrt().sum()
    mean = torch.zeros(4).double()
    assert frechet_distance(mean, one, mean, other) == pytest.approx(expected.item(), rel=1e-9)


def test_few_samples_are_said_to_be_few_and_stay_finite() -> None:
    generator = torch.Generator().manual_seed(0)
    many, real = (torch.randn(2100, 8, generator=generator) for _ in range(2))
    enough = frechet_distance_of_features(many, real)
    assert not enough.is_from_few_samples
    assert enough.value < 0.1
    single = frechet_distance_of_features(many[:1], real)
    assert single.is_from_few_samples
    assert (single.num_samples, single.num_real) == (1, 2100)
    assert torch.isfinite(torch.tensor(single.value))


@pytest.mark.parametrize("prompt", ["a handwritten seven", "the digit seven", "A Seven"])
def test_digit_in_prompt_finds_the_word(prompt: str) -> None:
    assert digit_in_prompt(prompt) == 7


@pytest.mark.parametrize("prompt", ["a red circle", "one or two"])
def test_a_prompt_without_exactly_one_digit_is_refused(prompt: str) -> None:
    with pytest.raises(UsageError, match=prompt):
        digit_in_prompt(prompt)
