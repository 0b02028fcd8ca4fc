"""Captions are found in every documented layout, and a wrong row is named by its number."""

from pathlib import Path

import pytest
from PIL import Image

from search_space.errors import UsageError
from training.data.folder_captions import read_captions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images, no captions."""
    root = tmp_path / "images"
    root.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (4, 4)).save(root / name)
    return root


def _found(folder: Path) -> list[tuple[str, str]]:
    return [(file.path.name, file.text) for file in read_captions(folder)]


EXPECTED = [("a.png", "a cat, black"), ("b.png", "ein Käfer")]
JSONL = '{"file_name": "a.png", "text": "a cat, black", "more": 1}\n\n{"file_name": "b.png", "text": "ein Käfer"}\n'
CSV = 'file_name,more,text\na.png,1,"a cat, black"\nb.png,2,ein Käfer\n'


def test_jsonl(folder: Path) -> None:
    (folder / "metadata.jsonl").write_text(JSONL, encoding="utf-8")
    assert _found(folder) == EXPECTED


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv_with_or_without_a_byte_order_mark(folder: Path, encoding: str) -> None:
    (folder / "metadata.csv").write_text(CSV, encoding=encoding)
    assert _found(folder) == EXPECTED


def test_train_subfolder(folder: Path) -> None:
    moved = folder.rename(folder.parent / "train")
    (moved / "metadata.csv").write_text(CSV, encoding="utf-8")
    assert _found(moved.parent) == EXPECTED


def test_text_beside_the_image_in_any_subfolder(folder: Path) -> None:
    (folder / "a.txt").write_text("a cat,\nblack\n")
    assert _found(folder.parent) == [("a.png", "a cat, black")]


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        (
            '{"file_name": "a.png", "text": "x"}\n{"file_name": "c.png", "text": "x"}',
            "row 2: there is no image 'c.png'",
        ),
        ('{"file_name": "a.png"}', "row 1: text Field required"),
        ('{"file_name": "a.png", "text": 3}', "row 1: text Input should be a valid string"),
        ('{"file_name": "a.png", "text": "x"', "row 1:  Invalid JSON"),
        ("[" * 100_000, "row 1:  Invalid JSON"),
        ('{"file_name": "", "text": "x"}', "row 1: file_name"),
        ('{"file_name": "\\u0000", "text": "x"}', "row 1: file_name"),
        ('{"file_name": "../outside.png", "text": "x"}', "lies outside"),
        ('{"file_name": "/etc/hostname", "text": "x"}', "lies outside"),
        ("", "no images with captions"),
    ],
)
def test_a_wrong_row_is_refused_by_its_number(folder: Path, metadata: str, complaint: str) -> None:
    Image.new("RGB", (4, 4)).save(folder.parent / "outside.png")
    (folder / "metadata.jsonl").write_text(metadata)
    with pytest.raises(UsageError) as raised:
        read_captions(folder)
    message = " ".join(complaint.split())
    assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 3


@pytest.mark.parametrize("text", ["file_name,text\na.png", "file,caption\na.png,x", "file_name,text\na.png,\udcff"])
def test_a_wrong_csv_is_refused(folder: Path, text: str) -> None:
    (folder / "metadata.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=r"metadata\.csv"):
        read_captions(folder)


def test_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    Image.new("RGB", (4, 4)).save(folder.parent / "outside.png")
    (folder / "link.png").symlink_to(folder.parent / "outside.png")
    (folder / "link.txt").write_text("a secret")
    with pytest.raises(UsageError, match="lies outside"):
        read_captions(folder)


def test_images_without_any_caption_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="no images with captions"):
        read_captions(folder)
