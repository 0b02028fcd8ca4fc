"""The schema of an upload, one broken field at a time."""

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from profilers.collecting.messages import Claim, Portion

KEY = "0123456789abcdef"
PROBE = {"position": 0, "raw_ms": [1.0, 1.1, 1.2], "num_runs": 4, "at_ms": 0.0}
PORTION: dict[str, Any] = {
    "schema_version": 1,
    "upload_id": "a" * 32,
    "plan_id": "b" * 32,
    "group_index": 0,
    "round_index": 0,
    "portion_index": 0,
    "probes": [PROBE, {**PROBE, "position": 1, "at_ms": 40.0}],
    "samples": [{"key": KEY, "raw_ms": 2.5, "num_runs": 3, "at_ms": 20.0}],
    "failures": [],
}
CLAIM: dict[str, Any] = {
    "schema_version": 1,
    "token": "t" * 32,
    "session_key": "s" * 32,
    "provider": "wasm",
    "threads": 2,
    "num_cores": 8,
    "has_exact_clock": True,
    "model": "Pixel 8",
    "system_version": "14.0.0",
    "max_touch_points": 5,
}

BROKEN_PORTIONS: list[tuple[tuple[str | int, ...], object]] = [
    (("schema_version",), 2),
    (("schema_version",), "1"),
    (("upload_id",), "A" * 32),
    (("upload_id",), "a" * 31),
    (("plan_id",), "b" * 32 + "\n"),
    (("round_index",), -1),
    (("round_index",), True),
    (("round_index",), 1.0),
    (("group_index",), 10**9),
    (("probes",), []),
    (("probes",), [PROBE]),
    (("probes", 0, "raw_ms"), [1.0]),
    (("probes", 0, "raw_ms", 0), 0.0),
    (("probes", 0, "raw_ms", 0), 5e-324),
    (("samples", 0, "raw_ms"), 0),
    (("samples", 0, "raw_ms"), -1.0),
    (("samples", 0, "raw_ms"), 5e-324),
    (("samples", 0, "raw_ms"), 2e9),
    (("samples", 0, "raw_ms"), float("nan")),
    (("samples", 0, "raw_ms"), float("inf")),
    (("samples", 0, "raw_ms"), "2.5"),
    (("samples", 0, "raw_ms"), None),
    (("samples", 0, "num_runs"), 0),
    (("samples", 0, "num_runs"), 10**7),
    (("samples", 0, "at_ms"), -1.0),
    (("samples", 0, "key"), "../../etc/passwd"),
    (("samples", 0, "median_ms"), 2.5),
    (("samples",), [PORTION["samples"][0]] * 401),
    (("median_ms",), {KEY: 2.5}),
    (("user",), "alice"),
    (("failures",), [{"key": KEY, "reason": "<script>alert(1)</script>"}]),
    (("failures",), [{"key": KEY, "reason": "x" * 129}]),
    (("failures",), [{"key": KEY, "reason": ""}]),
]
BROKEN_CLAIMS: list[tuple[tuple[str | int, ...], object]] = [
    (("token",), "t" * 31),
    (("token",), "t" * 31 + "/"),
    (("session_key",), None),
    (("provider",), "cuda"),
    (("threads",), 0),
    (("threads",), 65),
    (("num_cores",), 0),
    (("has_exact_clock",), 1),
    (("model",), "<img src=x onerror=alert(1)>"),
    (("model",), "x" * 41),
    (("system_version",), "14; rm -rf /"),
    (("max_touch_points",), -1),
    (("max_touch_points",), True),
    (("serial",), "R58M12ABCDE"),
]


def broken(document: dict[str, Any], path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    inner: Any = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return changed


def test_the_whole_messages_are_read() -> None:
    assert Portion.model_validate(PORTION).samples[0].raw_ms == 2.5
    assert Claim.model_validate(CLAIM).threads == 2


@pytest.mark.parametrize(("path", "value"), BROKEN_PORTIONS, ids=str)
def test_a_broken_portion_is_refused(path: tuple[str | int, ...], value: object) -> None:
    with pytest.raises(ValidationError):
        Portion.model_validate(broken(PORTION, path, value))


@pytest.mark.parametrize(("path", "value"), BROKEN_CLAIMS, ids=str)
def test_a_broken_claim_is_refused(path: tuple[str | int, ...], value: object) -> None:
    with pytest.raises(ValidationError):
        Claim.model_validate(broken(CLAIM, path, value))


@pytest.mark.parametrize("field", PORTION)
def test_every_field_is_needed(field: str) -> None:
    with pytest.raises(ValidationError):
        Portion.model_validate({name: value for name, value in PORTION.items() if name != field})
