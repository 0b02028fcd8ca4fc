"""Real handwritten digits: scikit-learn's copy of the UCI test set, 1,797 pictures of 8x8 pixels by 13 people.

The smallest set of real pictures that needs no download. Every picture is on one side of the split for ever.
"""

import hashlib
from functools import cache
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from training.data.base import Batch, CaptionedImages, content_fingerprint

DIGIT_WORDS: Final[tuple[str, ...]] = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
)
HELD_OUT_FRACTION: Final = 0.2
_CAPTIONS: Final[tuple[str, ...]] = ("a handwritten {}", "the digit {}", "a {} written by hand")
_LARGEST_VALUE: Final = 16
"""Ink of a fully covered pixel in the 8x8 pictures."""


class Digits(CaptionedImages):
    """White digits on black; the caption says which one, in one of three wordings."""

    def __init__(self, *, image_size: int = 32) -> None:
        """Loads the digits, under a second.

        Args:
            image_size: Side in pixels that the 8x8 pictures are enlarged to.
        """
        self.name = "digits"
        self.image_size = image_size
        pictures, labels = _load_pictures()
        enlarged = functional.interpolate(pictures, size=(image_size, image_size), mode="bicubic", align_corners=False)
        images = enlarged.clamp(-1, 1).expand(-1, 3, -1, -1)  # [1797, 3, S, S]
        num_held_out = round(HELD_OUT_FRACTION * len(images))
        order = torch.tensor(_fixed_order(len(images)))
        self.held_out_images, self.train_images = images[order[:num_held_out]], images[order[num_held_out:]]
        self.held_out_labels, self.train_labels = labels[order[:num_held_out]], labels[order[num_held_out:]]
        self.fingerprint = content_fingerprint(
            {
                "name": self.name,
                "image_size": image_size,
                "pictures": hashlib.sha256(pictures.numpy().tobytes()).hexdigest(),
                "labels": labels.tolist(),
                "order": order.tolist(),
                "held_out": num_held_out,
                "captions": _CAPTIONS,
                "enlarged": "bicubic",
            }
        )

    def train_batch(self, step: int, batch_size: int, *, seed: int) -> Batch:
        """Training pictures drawn with replacement, each in one of the three wordings."""
        generator = torch.Generator().manual_seed(_stream(f"digits/train/{seed}/{step}"))
        chosen = torch.randint(len(self.train_images), (batch_size,), generator=generator)
        wordings = torch.randint(len(_CAPTIONS), (batch_size,), generator=generator).tolist()
        captions = [
            _CAPTIONS[wording].format(DIGIT_WORDS[label])
            for wording, label in zip(wordings, self.train_labels[chosen].tolist(), strict=True)
        ]
        return Batch(images=self.train_images[chosen], captions=tuple(captions))

    def held_out_batch(self, index: int, batch_size: int) -> Batch:
        """Held-out pictures in their fixed order, from the start again after the last."""
        chosen = torch.arange(index * batch_size, (index + 1) * batch_size) % len(self.held_out_images)
        captions = [_CAPTIONS[0].format(DIGIT_WORDS[label]) for label in self.held_out_labels[chosen].tolist()]
        return Batch(images=self.held_out_images[chosen], captions=tuple(captions))

    def prompts(self) -> tuple[str, ...]:
        """One prompt per digit; it is the pictures that are held out, since there are only ten things to say."""
        return tuple(_CAPTIONS[0].format(word) for word in DIGIT_WORDS)


@cache
def _load_pictures() -> tuple[Tensor, Tensor]:
    """All pictures `[1797, 1, 8, 8]` in [-1, 1] and their digits `[1797]`."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pictures = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / _LARGEST_VALUE * 2 - 1
    return pictures, torch.tensor(bunch.target, dtype=torch.long)


def _fixed_order(num_images: int) -> list[int]:
    """A shuffled order that no library version changes."""
    return sorted(range(num_images), key=lambda number: hashlib.sha256(f"digits/{number}".encode()).digest())


def _stream(name: str) -> int:
    """A seed for one named stream of random numbers; different names never share one."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
