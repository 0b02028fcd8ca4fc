import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profilers.collecting.strict_json import MAX_DEPTH, MAX_ITEMS, BodyError, parse_json

REFUSED = {
    "not UTF-8": b'{"a": "\xff"}',
    "not JSON": b"{'a': 1}",
    "empty": b"",
    "two documents": b"{} {}",
    "a key twice": b'{"a": 1, "a": 2}',
    "a key twice, written differently": b'{"a": 1, "\\u0061": 2}',
    "NaN": b'{"a": NaN}',
    "minus infinity": b"[-Infinity]",
    "a NUL": b'["\\u0000"]',
    "a NUL in a key": b'{"\\u0000": 1}',
    "half a surrogate pair": b'["\\ud800"]',
    "a hundred thousand brackets": b"[" * 100_000,
    "a hundred thousand braces": b'{"a":' * 100_000,
    "nine levels": b"[" * 9 + b"]" * 9,
    "too many items": b"[" + b"1," * MAX_ITEMS + b"1]",
    "an integer of ten thousand digits": b"1" * 10_000,
    "an open string": b'["' + b"a" * 100_000,
    "backslashes without an end": b'["' + b"\\" * 99_999,
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_what_pythons_reader_lets_pass_or_dies_of_is_refused(body: bytes) -> None:
    with pytest.raises(BodyError):
        parse_json(body)


def test_eight_levels_are_read() -> None:
    assert parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) == [[[[[[[[]]]]]]]]


def test_brackets_in_strings_are_text() -> None:
    assert parse_json(b'["[[[[[[[[[[[[", "\\"[[[[[[[[[[[["]') == ["[[[[[[[[[[[[", '"[[[[[[[[[[[[']


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
DOCUMENTS = st.dictionaries(TEXTS, LEAVES | st.lists(LEAVES | st.dictionaries(TEXTS, LEAVES, max_size=3), max_size=5))


@given(DOCUMENTS)
def test_what_is_read_is_what_was_written(document: object) -> None:
    assert parse_json(json.dumps(document).encode()) == document


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        document = parse_json(body)
    except BodyError:
        return
    assert parse_json(json.dumps(document, allow_nan=False).encode()) == document
