"""JSON of an architecture: exact there and back, strict about everything else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from search_space.arch import ArchConfig
from search_space.arch_json import arch_from_json, read_arch_file
from search_space.errors import UsageError
from search_space.references import REFERENCES, sd15
from tests.search_space.examples import random_archs


@settings(max_examples=30)
@given(random_archs)
def test_json_is_read_back(arch: ArchConfig) -> None:
    assert arch_from_json(arch.to_json()) == arch
    assert arch_from_json(arch.to_json(indent=2).encode()) == arch


@pytest.mark.parametrize("name", REFERENCES)
def test_references_are_read_back(name: str) -> None:
    arch = REFERENCES[name]()
    assert arch_from_json(arch.to_json()) == arch


def test_arch_ids_have_not_changed() -> None:
    """Stored results are found by these: whoever changes them on purpose raises `SCHEMA_VERSION`."""
    found = {name: REFERENCES[name]().arch_id for name in ("sd15", "dreamlite", "snapgen_t2i")}
    assert found == {"sd15": "140cc58d1233", "dreamlite": "9ddaf3a5b6f0", "snapgen_t2i": "8993975a1583"}


def test_keys_are_sorted_and_fields_with_defaults_may_be_left_out() -> None:
    document = json.loads(sd15().to_json())
    assert list(document) == sorted(document)
    for name in ("schema_version", "added_conditioning", "norm_groups"):
        del document[name]
    assert arch_from_json(json.dumps(document)) == sd15()


def changed(*path: str | int, value: Any) -> str:
    """The JSON of sd15 with one value replaced or added."""
    document: Any = json.loads(sd15().to_json())
    item = document
    for key in path[:-1]:
        item = item[key]
    item[path[-1]] = value
    return json.dumps(document)


def without(*path: str | int) -> str:
    document: Any = json.loads(sd15().to_json())
    item = document
    for key in path[:-1]:
        item = item[key]
    del item[path[-1]]
    return json.dumps(document)


REFUSED: dict[str, tuple[Callable[[], str | bytes], str]] = {
    "empty": (lambda: "", "the document"),
    "not JSON": (lambda: "sd15", "the document"),
    "cut off": (lambda: sd15().to_json()[:-5], "the document"),
    "100,000 brackets": (lambda: "[" * 100_000, "the document"),
    "not text": (lambda: b"\xff\xfe\x00{", "the document"),
    "a list": (lambda: "[]", "the document"),
    "null": (lambda: "null", "the document"),
    "unknown key": (lambda: changed("norm_group", value=32), "norm_group.*\nallowed: did you mean 'norm_groups'"),
    "unknown key deep inside": (
        lambda: changed("stages", 1, "attention", "head_dims", value=8),
        r"stages\.1\.attention\.head_dims.*\nallowed: did you mean 'head_dim'",
    ),
    "unknown key like none": (lambda: changed("zzzz", value=1), "zzzz.*\nallowed: .*norm_groups"),
    "missing key": (lambda: without("context_width"), "context_width"),
    "missing key deep inside": (lambda: without("stages", 0, "channels"), r"stages\.0\.channels"),
    "NaN": (lambda: changed("norm_groups", value=float("nan")), "norm_groups"),
    "infinity": (lambda: changed("norm_groups", value=float("inf")), "norm_groups"),
    "number in a string": (lambda: changed("norm_groups", value="32"), "norm_groups"),
    "fraction": (lambda: changed("norm_groups", value=32.5), "norm_groups"),
    "bool for a number": (lambda: changed("in_channels", value=True), "in_channels"),
    "number for a bool": (lambda: changed("mid", "self_attention", value=1), "mid.self_attention"),
    "null for a number": (lambda: changed("in_channels", value=None), "in_channels"),
    "unknown choice": (lambda: changed("projection", value="conv2"), "projection.*'conv'"),
    "depth of a wrong type": (lambda: changed("mid", "transformer_depths", 0, value="1"), "mid.transformer_depths.0"),
    "a rule broken": (lambda: changed("stages", 2, "attention", "head_dim", value=7), r"stages\.2.*head_dim is 7"),
    "schema of tomorrow": (lambda: changed("schema_version", value=2), "schema_version is 2"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_anything_else_is_refused_by_its_place_in_three_lines(text: Callable[[], str | bytes], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refusal:
        arch_from_json(text())
    assert len(str(refusal.value).splitlines()) <= 3


def test_a_file_is_read_and_a_missing_one_named(tmp_path: Path) -> None:
    path = tmp_path / "arch.json"
    path.write_text(sd15().to_json(indent=2))
    assert read_arch_file(path) == sd15()
    with pytest.raises(UsageError, match="cannot read .*missing.json"):
        read_arch_file(tmp_path / "missing.json")
