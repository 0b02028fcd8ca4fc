"""Reads JSON that a stranger sent. What Python's own reader lets pass is refused here.

`json.loads` keeps the last of two equal keys, reads NaN, Infinity, NUL and lone surrogates (PostgreSQL then refuses the
text), and dies of a recursion error on a hundred thousand open brackets. Depth and size are counted before anything is
parsed.
"""

import json
import re

MAX_DEPTH = 8
MAX_ITEMS = 10_000

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]

# A string, skipped as a whole, or one structural character. Possessive, so no input makes it go back; and a string that
# never ends is one token as well, or each quote in it would be tried as the beginning of a string up to the end.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]', flags=re.DOTALL)


class BodyError(ValueError):
    """The body is not JSON that we accept."""


def parse_json(body: bytes) -> JsonValue:
    """Reads one JSON document.

    Raises:
        BodyError: It is not UTF-8 or not JSON, too deep, too large, ambiguous, or holds text no database keeps.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BodyError("the body is not UTF-8") from error
    _check_shape(text)
    try:
        document: JsonValue = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except BodyError:
        raise
    except ValueError as error:  # also an integer of more than 4300 digits
        raise BodyError("the body is not JSON") from error
    _check_text(document)
    return document


def _check_shape(text: str) -> None:
    """Counts brackets and commas as the parser will meet them."""
    depth = num_items = 0
    for match in _TOKEN.finditer(text):
        match match[0]:
            case "[" | "{":
                depth += 1
                num_items += 1
            case "]" | "}":
                depth -= 1
            case ",":
                num_items += 1
        if depth > MAX_DEPTH:
            raise BodyError(f"the body is nested deeper than {MAX_DEPTH}")
        if num_items > MAX_ITEMS:
            raise BodyError(f"the body has more than {MAX_ITEMS} items")


def _object(pairs: list[tuple[str, JsonValue]]) -> JsonValue:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise BodyError("the body has a key twice in one object")
    return document


def _refuse_constant(name: str) -> JsonValue:
    raise BodyError(f"{name} is not JSON")


def _check_text(document: JsonValue) -> None:
    match document:
        case str():
            if "\0" in document or any("\ud800" <= character <= "\udfff" for character in document):
                raise BodyError("the body holds a NUL or half a surrogate pair")
        case list():
            for item in document:
                _check_text(item)
        case dict():
            for key, value in document.items():
                _check_text(key)
                _check_text(value)
