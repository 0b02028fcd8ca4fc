"""Fingerprints follow content, not the order it is written in."""

from training.data.base import content_fingerprint


def test_a_fingerprint_follows_content_and_not_key_order() -> None:
    assert content_fingerprint({"a": 1, "b": [2]}) == content_fingerprint({"b": [2], "a": 1})
    assert content_fingerprint({"a": 1}) != content_fingerprint({"a": 2})
