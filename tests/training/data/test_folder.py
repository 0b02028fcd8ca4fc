"""A folder of images keeps the data sets' contract, and no file in it can break the loader."""

import json
import logging
from pathlib import Path

import pytest
import torch
from PIL import Image

from search_space.errors import UsageError
from tests.training.data.contract import CaptionedImagesContract
from training.data.base import CaptionedImages
from training.data.folder import FolderImages


def _write_image(path: Path, number: int, *, size: tuple[int, int] = (40, 30)) -> None:
    """A picture unlike that of any other number."""
    gradient = Image.linear_gradient("L").resize(size)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.merge("RGB", (gradient, gradient.rotate(90), Image.new("L", size, number * 5))).save(path)


def _write_metadata(folder: Path, names: list[str]) -> None:
    rows = [json.dumps({"file_name": name, "text": f"picture {name}"}) for name in names]
    (folder / "metadata.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty images with metadata."""
    names = [f"{number}.png" for number in range(30)]
    for number, name in enumerate(names):
        _write_image(tmp_path / "My Pictures" / name, number)
    _write_metadata(tmp_path / "My Pictures", names)
    return tmp_path / "My Pictures"


class TestFolderImages(CaptionedImagesContract):
    @pytest.fixture
    def data(self, folder: Path) -> CaptionedImages:
        return FolderImages(folder)

    @pytest.fixture
    def same_data(self, folder: Path) -> CaptionedImages:
        return FolderImages(folder)

    @pytest.fixture
    def smaller_data(self, folder: Path) -> CaptionedImages:
        return FolderImages(folder, image_size=16)


def test_the_name_is_a_slug_and_one_image_in_ten_is_held_out(folder: Path) -> None:
    data = FolderImages(folder)
    assert data.name == "folder:my-pictures"
    assert len(data.prompts()) == 3


def test_the_fingerprint_follows_captions_and_images_but_not_the_place(folder: Path, tmp_path: Path) -> None:
    before = FolderImages(folder).fingerprint
    moved = folder.rename(tmp_path / "elsewhere")
    assert FolderImages(moved).fingerprint == before
    _write_image(moved / "7.png", 31)
    assert FolderImages(moved).fingerprint != before


def test_copies_of_one_image_stay_on_one_side(folder: Path) -> None:
    names = [f"{number}.png" for number in range(30)]
    for number in range(30):
        (folder / f"copy{number}.png").write_bytes((folder / f"{number}.png").read_bytes())
    _write_metadata(folder, names + [f"copy{number}.png" for number in range(30)])
    assert len(FolderImages(folder).prompts()) == 6


def test_images_are_cropped_to_their_centre_turned_upright_and_put_on_white(tmp_path: Path) -> None:
    wide = Image.new("RGB", (90, 30), "red")
    wide.paste("blue", (30, 0, 60, 30))
    wide.save(tmp_path / "wide.png")
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    top_red = Image.new("RGB", (32, 32), "blue")
    top_red.paste("red", (0, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = 3  # stored upside down
    top_red.save(tmp_path / "turned.png", exif=exif)
    for name in ("wide", "clear", "turned"):
        (tmp_path / f"{name}.txt").write_text(name)
    data = FolderImages(tmp_path)
    batches = (data.held_out_batch(0, 1), data.train_batch(0, 50, seed=0))
    images = {caption: image for batch in batches for caption, image in zip(batch.captions, batch.images, strict=True)}
    assert images["wide"].mean(dim=(1, 2)).tolist() == pytest.approx([-1, -1, 1], abs=0.02)
    assert images["clear"].min() == 1
    assert images["turned"][:, -1, 0].tolist() == [1, -1, -1]


def test_unreadable_and_huge_images_are_skipped_and_counted(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "0.png").write_bytes(b"not an image")
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:-60])
    _write_image(folder / "2.png", 2, size=(200, 100))
    _write_image(folder / "3.png", 3, size=(400, 100))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15_000)  # warns for 2.png, raises for 3.png
    with caplog.at_level(logging.WARNING):
        data = FolderImages(folder)
    assert data.num_skipped == 4
    assert "4 of 30 images" in caplog.text


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_no_flipped_byte_breaks_the_loader(folder: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a description that damage can reach"
    original_path = folder / f"original{suffix}"
    Image.linear_gradient("L").resize((20, 15)).convert("RGB").save(original_path, exif=exif)
    original = original_path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for number in range(30):
        damaged = bytearray(original)
        for position in torch.randint(len(damaged), (3,), generator=generator).tolist():
            damaged[position] ^= 0x5A
        (folder / f"{number}.png").write_bytes(damaged)
    _write_image(folder / "good.png", 40)
    _write_image(folder / "also good.png", 41)
    _write_metadata(folder, [*(f"{number}.png" for number in range(30)), "good.png", "also good.png"])
    assert FolderImages(folder).num_skipped <= 30


def test_a_single_image_cannot_be_split(tmp_path: Path) -> None:
    _write_image(tmp_path / "0.png", 0)
    _write_metadata(tmp_path, ["0.png"])
    with pytest.raises(UsageError, match="at least two"):
        FolderImages(tmp_path)
