"""The sheet of samples."""

from pathlib import Path

import torch
from PIL import Image

from training.grid import save_grid


def test_every_picture_stands_on_the_sheet_in_its_colour(tmp_path: Path) -> None:
    images = torch.full((3, 3, 8, 8), -1.0)
    for channel in range(3):
        images[channel, channel] = 1
    save_grid(
        images, ["red", "a green picture with a long, long, long, long, long prompt", ""], tmp_path / "a" / "g.png"
    )
    with Image.open(tmp_path / "a" / "g.png") as sheet:
        colours = [sheet.getpixel((72 + 136 * column, 72)) for column in range(3)]
        assert colours == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
        below_the_first = sheet.crop((8, 137, 136, 166)).convert("L").tobytes()
        assert min(below_the_first) < 128  # something dark is written there


def test_rows_are_filled_before_columns_grow(tmp_path: Path) -> None:
    save_grid(torch.zeros(5, 3, 4, 4), ["x"] * 5, tmp_path / "g.png", num_columns=4)
    with Image.open(tmp_path / "g.png") as sheet:
        assert sheet.width == 4 * 136 + 8
        assert sheet.height == 2 * 166 + 8
