"""A spec's key says the spec, all of it, and nothing else is a key."""

import json

import pytest

from search_space.errors import UsageError
from search_space.specs import SPEC_KINDS, BlockSpec, spec_from_key, spec_key
from tests.search_space.examples import EXAMPLE_SPECS


def test_examples_cover_every_kind() -> None:
    assert {spec.kind for spec in EXAMPLE_SPECS.values()} == set(SPEC_KINDS)


@pytest.mark.parametrize("spec", EXAMPLE_SPECS.values(), ids=EXAMPLE_SPECS)
def test_key_is_read_back(spec: BlockSpec) -> None:
    assert spec_from_key(spec_key(spec)) == spec


@pytest.mark.parametrize("spec", EXAMPLE_SPECS.values(), ids=EXAMPLE_SPECS)
def test_key_is_sorted_json_and_its_order_does_not_matter_when_read(spec: BlockSpec) -> None:
    key = spec_key(spec)
    fields = json.loads(key)
    assert list(fields) == sorted(fields)
    backwards = json.dumps(dict(reversed(fields.items())))
    assert backwards != key
    assert spec_key(spec_from_key(backwards)) == key


def test_different_specs_have_different_keys() -> None:
    assert len({spec_key(spec) for spec in EXAMPLE_SPECS.values()}) == len(EXAMPLE_SPECS)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "conv",
        "[]",
        "null",
        "3",
        "{}",
        '{"kind":"pooling"}',
        '{"kind":["conv"]}',
        '{"kind":"norm_out"}',
        '{"kind":"norm_out","channels":32,"size":6,"norm_groups":8,"colour":1}',
    ],
)
def test_anything_else_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match="not the key of a block") as refusal:
        spec_from_key(key)
    assert len(str(refusal.value).splitlines()) <= 3
