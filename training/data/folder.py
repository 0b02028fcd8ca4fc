"""A folder of one's own images with captions, laid out as Hugging Face's `imagefolder` or with a text beside each.

Captions stand in `metadata.jsonl` or `metadata.csv` (columns `file_name` and `text`), or in `cat.txt` beside `cat.jpg`;
the folder may hold everything in a `train/` subfolder. Images are decoded once, cropped, and kept in memory as bytes:
3 KiB each at 32 pixels, 3 MiB at 1024.
"""

import hashlib
import logging
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from search_space.errors import UsageError
from search_space.progress import progress
from training.data.base import Batch, CaptionedImages, content_fingerprint
from training.data.folder_captions import IMAGE_SUFFIXES, read_captions

HELD_OUT_FRACTION: Final = 0.1
_PILLOW_FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP")
"""What the suffixes stand for; Pillow's rarer decoders never see a file."""

_log = logging.getLogger(__name__)


class FolderImages(CaptionedImages):
    """Images resized by their short side and cropped to the centre; one in ten is held out, by its content."""

    num_skipped: int
    """Images left out because they could not be read."""

    def __init__(self, folder: Path, *, image_size: int = 32) -> None:
        """Reads every image of a folder.

        Args:
            folder: Where the images and their captions are.
            image_size: Side in pixels that images are brought to.
        """
        self.name = f"folder:{_slug(folder.resolve().name)}"
        self.image_size = image_size
        files = read_captions(folder)
        images: list[Tensor] = []
        captions: list[str] = []
        digests: list[str] = []
        with progress(f"reading images of {folder.name}", total=len(files), unit="image") as bar:
            for file in files:
                image = _read_image(file.path, image_size)
                if image is not None:
                    images.append(image)
                    captions.append(file.text)
                    digests.append(hashlib.sha256(file.path.read_bytes()).hexdigest())
                bar.advance()
        self.num_skipped = len(files) - len(images)
        if self.num_skipped:
            _log.warning("%d of %d images in %s were skipped", self.num_skipped, len(files), folder)
        held_out_digests = _held_out(digests, folder)
        self._images = torch.stack(images)  # [N, 3, S, S], uint8
        self._captions = captions
        self._held_out = [index for index, digest in enumerate(digests) if digest in held_out_digests]
        self._training = [index for index, digest in enumerate(digests) if digest not in held_out_digests]
        self.fingerprint = content_fingerprint(
            {
                "kind": "folder",
                "image_size": image_size,
                "images": list(zip(digests, captions, strict=True)),
                "held_out": sorted(held_out_digests),
            }
        )

    def train_batch(self, step: int, batch_size: int, *, seed: int) -> Batch:
        """Training images drawn with replacement."""
        digest = hashlib.sha256(f"folder/train/{seed}/{step}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        drawn = torch.randint(len(self._training), (batch_size,), generator=generator).tolist()
        return self._batch([self._training[number] for number in drawn])

    def held_out_batch(self, index: int, batch_size: int) -> Batch:
        """Held-out images in their order, from the start again after the last."""
        numbers = range(index * batch_size, (index + 1) * batch_size)
        return self._batch([self._held_out[number % len(self._held_out)] for number in numbers])

    def prompts(self) -> tuple[str, ...]:
        """The captions of held-out images, each once."""
        return tuple(dict.fromkeys(self._captions[index] for index in self._held_out))

    def _batch(self, indices: Sequence[int]) -> Batch:
        images = self._images[torch.tensor(indices)].float().div(127.5).sub(1)  # [B, 3, S, S]
        return Batch(images=images, captions=tuple(self._captions[index] for index in indices))


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "images"


def _read_image(path: Path, image_size: int) -> Tensor | None:
    """One image, `[3, S, S]` uint8, or None with a line in the log where it cannot be read or is a bomb."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # damaged EXIF data; the picture itself may be well
            # Pillow only warns from 89 million pixels on, and raises from twice that; we refuse both.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_PILLOW_FORMATS) as opened:
                upright = ImageOps.exif_transpose(opened).convert("RGBA")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        _log.warning("skipped %s: %s", path.name, error)
        return None
    on_white = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright).convert("RGB")
    square = ImageOps.fit(on_white, (image_size, image_size), method=Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)


def _held_out(digests: Sequence[str], folder: Path) -> frozenset[str]:
    """The digests of the images to hold out: the lowest tenth, at least one; copies of an image stay together."""
    distinct = sorted(set(digests))
    if len(distinct) < 2:
        raise UsageError(
            f"{folder} has {len(distinct)} readable, different images with captions",
            allowed=f"at least two, one to train on and one to hold out, as {', '.join(IMAGE_SUFFIXES)}",
            fix="add images, or look at the warnings about skipped ones above",
        )
    return frozenset(distinct[: max(1, round(HELD_OUT_FRACTION * len(distinct)))])
