"""A manifest notices every way in which an exported file can differ from what was written."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from deploy.weights import save_weights, verify_manifest, weights_metadata, write_manifest
from search_space.errors import UsageError
from tests.deploy.small_unets import standard_arch


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    metadata = weights_metadata(standard_arch())
    save_weights(nn.Linear(3, 2), tmp_path / "unet" / "weights.safetensors", metadata=metadata)
    (tmp_path / "arch.json").write_text("{}")
    write_manifest(tmp_path)
    return tmp_path


def test_an_untouched_folder_verifies_and_lists_every_file_but_the_manifest(exported: Path) -> None:
    manifest = verify_manifest(exported)
    assert [file.path for file in manifest.files] == ["arch.json", "unet/weights.safetensors"]


def test_weights_and_their_metadata_come_back(exported: Path) -> None:
    torch.manual_seed(0)
    expected = nn.Linear(3, 2).state_dict()
    path = exported / "unet" / "weights.safetensors"
    loaded = load_file(path)
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["arch_id"] == standard_arch().arch_id
    assert set(metadata) == {"format", "format_version", "arch_id", "snapnas_version", "git_commit"}


def test_a_flipped_bit_of_the_weights_is_named(exported: Path) -> None:
    path = exported / "unet" / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert load_file(path)  # safetensors itself does not notice
    with pytest.raises(UsageError, match="weights.safetensors is not the file that was exported"):
        verify_manifest(exported)


def test_a_missing_and_a_truncated_file_are_named(exported: Path) -> None:
    (exported / "arch.json").write_text("{")
    with pytest.raises(UsageError, match=r"arch.json has 1 bytes"):
        verify_manifest(exported)
    (exported / "arch.json").unlink()
    with pytest.raises(UsageError, match=r"arch.json is missing"):
        verify_manifest(exported)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": [{"path": "../secret", "size_bytes": 1, "sha256": "0" * 64}]}, "names ../secret"),
        ({"files": [{"path": "/etc/passwd", "size_bytes": 1, "sha256": "0" * 64}]}, "names /etc/passwd"),
        ({"files": [{"path": "arch.json", "size_bytes": -1, "sha256": "0" * 64}]}, "is not a manifest"),
        ({"files": [{"path": "arch.json", "size_bytes": 2}]}, "is not a manifest"),
        ({"format_version": 99}, "format_version 99"),
    ],
)
def test_a_malformed_manifest_is_refused(exported: Path, change: dict[str, object], message: str) -> None:
    path = exported / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UsageError, match=message):
        verify_manifest(exported)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no manifest.json"):
        verify_manifest(tmp_path)
