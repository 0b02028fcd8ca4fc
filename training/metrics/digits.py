"""Judges pictures of digits by a classifier that knows real ones.

Two questions. Does the picture show the digit that was asked for? (accuracy) Are pictures as a whole spread like real
ones? (a Fréchet distance, as FID, between Gaussians fitted to the classifier's features.) FID's Inception network knows
photographs, so a small network trained on the very digits is the better judge here, and needs no download.
"""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from search_space.errors import UsageError
from search_space.progress import progress
from training.data.digits import DIGIT_WORDS, Digits

FEW_SAMPLES: Final = 2048
"""Below this many pictures a Fréchet distance is biased upwards; compare only distances of equal numbers."""

_RECIPE: Final[dict[str, int | float]] = {
    "version": 1,
    "seed": 0,
    "side": 16,
    "features": 32,
    "epochs": 10,
    "batch_size": 64,
    "learning_rate": 4e-3,
    "noise": 0.05,
}
"""Everything that decides the classifier's weights beside its data; part of the name it is cached under."""
_SHRINKAGE: Final = 1e-3
"""Added to the variances, so that few pictures give a covariance that can be inverted."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FrechetDistance:
    """How far one set of pictures is from the real ones, as two Gaussians."""

    value: float
    """Squared distance in the feature space; 0 for the same Gaussian, lower is better."""
    num_samples: int
    """Pictures that were judged."""
    num_real: int
    """Real pictures they were compared with."""

    @property
    def is_from_few_samples(self) -> bool:
        """Whether either set has fewer pictures than the distance needs to be free of bias."""
        return min(self.num_samples, self.num_real) < FEW_SAMPLES


@dataclass(frozen=True, kw_only=True)
class DigitScores:
    """The verdict on a set of pictures."""

    accuracy: float
    """Share of pictures that show the digit asked for, in [0, 1]."""
    frechet: FrechetDistance
    """Distance to all training pictures."""
    recognised: tuple[int, ...]
    """The digit the classifier sees in every picture."""


class DigitClassifier(nn.Module):
    """Two convolutions on 16x16 pixels, 32 features, ten digits; 40 thousand parameters."""

    def __init__(self) -> None:
        """Builds the network with random weights."""
        super().__init__()
        self.first = nn.Conv2d(1, 16, kernel_size=3, padding=1)
        self.second = nn.Conv2d(16, 32, kernel_size=3, padding=1)
        self.to_features = nn.Linear(32 * 4 * 4, int(_RECIPE["features"]))
        self.to_digits = nn.Linear(int(_RECIPE["features"]), len(DIGIT_WORDS))

    def features(self, images: Tensor) -> Tensor:
        """What the network sees in `shrink(images)`, `[N, 1, 16, 16]`: `[N, 32]`."""
        x = functional.max_pool2d(functional.relu(self.first(images)), 2)  # [N, 16, 8, 8]
        x = functional.max_pool2d(functional.relu(self.second(x)), 2)  # [N, 32, 4, 4]
        return functional.relu(self.to_features(x.flatten(1)))

    def forward(self, images: Tensor) -> Tensor:
        """Scores of the ten digits for `shrink(images)`, `[N, 1, 16, 16]`: `[N, 10]`."""
        digits: Tensor = self.to_digits(self.features(images))
        return digits


def shrink(images: Tensor) -> Tensor:
    """The grey 16x16 pictures the classifier looks at, from `[N, 3, H, W]` in [-1, 1]."""
    return functional.adaptive_avg_pool2d(images.mean(dim=1, keepdim=True), int(_RECIPE["side"]))


@torch.no_grad()
def score_digits(data: Digits, images: Tensor, prompts: Sequence[str], *, cache_dir: Path) -> DigitScores:
    """Judges every picture by its prompt, and all of them together.

    Args:
        data: The real digits.
        images: `[N, 3, H, W]` in [-1, 1], N at least 1.
        prompts: N captions that name a digit.
        cache_dir: Where the classifier is kept; it is trained there once, in seconds.
    """
    asked = torch.tensor([digit_in_prompt(prompt) for prompt in prompts])
    classifier = load_or_train_classifier(data, cache_dir)
    features = classifier.features(shrink(images))  # [N, 32]
    recognised = classifier.to_digits(features).argmax(dim=1)  # [N]
    return DigitScores(
        accuracy=(recognised == asked).float().mean().item(),
        frechet=frechet_distance_of_features(features, classifier.features(shrink(data.train_images))),
        recognised=tuple(recognised.tolist()),
    )


def digit_in_prompt(prompt: str) -> int:
    """The digit a caption names; a caption without exactly one is a UsageError."""
    digits = [DIGIT_WORDS.index(word) for word in prompt.lower().split() if word in DIGIT_WORDS]
    if len(digits) != 1:
        raise UsageError(
            f"the digit prompt {prompt!r} names {len(digits)} digits",
            allowed="exactly one of " + ", ".join(DIGIT_WORDS),
            fix="write it as 'a handwritten seven'",
        )
    return digits[0]


def load_or_train_classifier(data: Digits, cache_dir: Path) -> DigitClassifier:
    """The classifier for these digits, from the cache folder or trained and left there."""
    made_of = json.dumps({"data": data.fingerprint, "recipe": _RECIPE}, sort_keys=True)
    path = cache_dir / f"digit_classifier_{hashlib.sha256(made_of.encode()).hexdigest()[:12]}.safetensors"
    if path.exists():
        try:
            classifier = DigitClassifier()
            classifier.load_state_dict(load_file(path))
            return classifier.eval()
        except SafetensorError as error:
            _log.warning("%s cannot be read (%s); training the digit classifier again", path, error)
    classifier = _train_classifier(data)
    cache_dir.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    save_file(classifier.state_dict(), unfinished)
    unfinished.replace(path)
    return classifier


@torch.enable_grad()
def _train_classifier(data: Digits) -> DigitClassifier:
    """Trains on the training pictures with small shifts and noise; the same weights every time."""
    seed = int(_RECIPE["seed"])
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        classifier = DigitClassifier()
    epochs, batch_size = int(_RECIPE["epochs"]), int(_RECIPE["batch_size"])
    small = shrink(data.train_images)  # [N, 1, 16, 16]
    steps_per_epoch = len(data.train_images) // batch_size
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=_RECIPE["learning_rate"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps_per_epoch)
    with progress("training the digit classifier", total=epochs, unit="epoch") as bar:
        for _ in range(epochs):
            order = torch.randperm(len(data.train_images), generator=generator)
            for chosen in order[: steps_per_epoch * batch_size].view(-1, batch_size):
                images = _perturb(small[chosen], generator)
                loss = functional.cross_entropy(classifier(images), data.train_labels[chosen])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
            bar.advance(1, note=f"loss {loss.item():.3f}")
    return classifier.eval()


def _perturb(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shifts a batch by up to a pixel and adds noise, so that imperfect samples are judged fairly."""
    down, right = torch.randint(-1, 2, (2,), generator=generator).tolist()
    noise = torch.randn(images.shape, generator=generator) * _RECIPE["noise"]
    return images.roll((down, right), dims=(2, 3)) + noise


def frechet_distance_of_features(samples: Tensor, real: Tensor) -> FrechetDistance:
    """Compares two sets of features, `[N, D]` and `[M, D]`, as Gaussians."""
    value = frechet_distance(*_fit_gaussian(samples), *_fit_gaussian(real))
    return FrechetDistance(value=value, num_samples=len(samples), num_real=len(real))


def frechet_distance(mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) (Dowson and Landau 1982), never below 0.

    Args:
        mean_a: `[D]`, float64 for a trustworthy result; `mean_b` likewise.
        covariance_a: `[D, D]`, symmetric and positive semi-definite; `covariance_b` likewise.
    """
    root_a = _symmetric_root(covariance_a)
    # (C_a C_b)^(1/2) has the eigenvalues of the symmetric (C_a^(1/2) C_b C_a^(1/2))^(1/2).
    cross = torch.linalg.eigvalsh(root_a @ covariance_b @ root_a).clamp(min=0).sqrt().sum()
    distance = (mean_a - mean_b).square().sum() + covariance_a.trace() + covariance_b.trace() - 2 * cross
    return max(float(distance), 0.0)


def _symmetric_root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


def _fit_gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean `[D]` and regularised covariance `[D, D]` in float64; a single picture has no spread of its own."""
    features = features.double()
    mean = features.mean(dim=0)
    centred = features - mean
    covariance = centred.T @ centred / max(len(features) - 1, 1)
    return mean, covariance + _SHRINKAGE * torch.eye(features.shape[1], dtype=torch.float64)
