"""What every data set offers: batches of captioned images that depend on nothing but their arguments.

Training asks for batch number `step` of a seed, not for "the next one". So a run that is killed and resumed sees the
same images as one that was not, two candidates of a search see the same images as each other, and no reader's state
has to be stored.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Images with one caption each."""

    images: Tensor
    """`[B, 3, H, W]`, float32, in [-1, 1]."""
    captions: tuple[str, ...]
    """B captions in plain English."""


class CaptionedImages(ABC):
    """A data set of square images with captions, split into a training part and a held-out part."""

    name: str
    """"scenes", "digits" or "folder:<slug>"."""
    fingerprint: str
    """12 hex digits of everything that decides the content; equal content elsewhere has the same."""
    image_size: int
    """Side of an image in pixels."""

    @abstractmethod
    def train_batch(self, step: int, batch_size: int, *, seed: int) -> Batch:
        """Batch number `step` of the training part: a pure function of its three arguments."""

    @abstractmethod
    def held_out_batch(self, index: int, batch_size: int) -> Batch:
        """Batch number `index` of the held-out part, always the same; starts over when the part is used up."""

    @abstractmethod
    def prompts(self) -> tuple[str, ...]:
        """Held-out prompts to sample and score; any prefix of them is as varied as it can be."""


def content_fingerprint(content: object) -> str:
    """12 hex digits for JSON-serialisable content: the start of the sha256 of its sorted JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
