"""Sampled pictures on one sheet, each with its prompt below: what a person looks at first."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

_PICTURE_SIDE_PX = 128
_MARGIN_PX = 8
_FONT_SIZE_PX = 12
_CAPTION_LINES = 2
_CHARACTERS_PER_LINE = 21
_CAPTION_HEIGHT_PX = _CAPTION_LINES * (_FONT_SIZE_PX + 3)


def save_grid(images: Tensor, prompts: Sequence[str], path: Path, *, num_columns: int = 8) -> None:
    """Writes a PNG.

    Args:
        images: `[B, 3, H, W]` in [-1, 1]; small ones are magnified without smoothing.
        prompts: B prompts.
        path: The PNG; its folder is made if need be.
        num_columns: Pictures in a row.
    """
    num_columns = min(num_columns, len(prompts))
    num_rows = -(-len(prompts) // num_columns)
    cell_width = _PICTURE_SIDE_PX + _MARGIN_PX
    cell_height = _PICTURE_SIDE_PX + _CAPTION_HEIGHT_PX + _MARGIN_PX
    sheet = Image.new("RGB", (num_columns * cell_width + _MARGIN_PX, num_rows * cell_height + _MARGIN_PX), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_FONT_SIZE_PX)
    for index, (image, prompt) in enumerate(zip(images, prompts, strict=True)):
        row, column = divmod(index, num_columns)
        left, top = _MARGIN_PX + column * cell_width, _MARGIN_PX + row * cell_height
        sheet.paste(_picture(image), (left, top))
        lines = textwrap.wrap(prompt, _CHARACTERS_PER_LINE, max_lines=_CAPTION_LINES, placeholder="...")
        draw.multiline_text((left, top + _PICTURE_SIDE_PX + 2), "\n".join(lines), fill="black", font=font, spacing=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, format="PNG")


def _picture(image: Tensor) -> Image.Image:
    """`[3, H, W]` in [-1, 1] to a picture of the sheet's size."""
    pixels = ((image.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0)  # [H, W, 3]
    picture = Image.fromarray(pixels.numpy(), mode="RGB")
    return picture.resize((_PICTURE_SIDE_PX, _PICTURE_SIDE_PX), Image.Resampling.NEAREST)
