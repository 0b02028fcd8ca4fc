"""Data sets open by name or folder; anything else is refused with the choices."""

from pathlib import Path

import pytest
from PIL import Image

from search_space.errors import UsageError
from training.data.names import DATA_NAMES
from training.data.open_data import open_data


@pytest.mark.parametrize("name", DATA_NAMES)
def test_every_offered_name_opens(name: str) -> None:
    data = open_data(name, image_size=16)
    assert data.name == name
    assert data.image_size == 16


def test_a_path_opens_the_folder(tmp_path: Path) -> None:
    for index in range(3):
        Image.new("RGB", (8, 8), (index * 80, 0, 0)).save(tmp_path / f"{index}.png")
        (tmp_path / f"{index}.txt").write_text(f"red number {index}")
    assert open_data(str(tmp_path), image_size=16).name.startswith("folder:")


def test_an_unknown_name_lists_the_choices() -> None:
    with pytest.raises(UsageError) as raised:
        open_data("scens")
    assert "scens" in str(raised.value)
    assert all(name in str(raised.value) for name in DATA_NAMES)
    assert len(str(raised.value).splitlines()) <= 3
