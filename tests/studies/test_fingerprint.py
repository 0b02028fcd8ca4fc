"""A study is resumed only as what it was begun."""

import dataclasses

import pytest

from profilers.backends.exact import ExactBackend
from search_space.errors import UsageError
from studies.config import LatencyLimit, StudyConfig
from studies.fingerprint import check_fingerprint, study_fingerprint
from studies.recipes import smoke


def _fingerprint(config: StudyConfig, *, data: str = "d", teacher: str = "t", table: str = "l") -> dict[str, str]:
    device = ExactBackend().device
    return study_fingerprint(config, device=device, latency_table_version=table, data=data, teacher=teacher)


def test_the_same_study_is_resumed_whatever_its_number_of_trials() -> None:
    check_fingerprint("s", _fingerprint(smoke()), _fingerprint(dataclasses.replace(smoke(), num_trials=99)))


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("seed", _fingerprint(dataclasses.replace(smoke(), seed=1))),
        ("space", _fingerprint(dataclasses.replace(smoke(), space="snapgen"))),
        ("latency budget", _fingerprint(dataclasses.replace(smoke(), latency_budget=LatencyLimit(max_latency_ms=3)))),
        ("data", _fingerprint(smoke(), data="other")),
        ("teacher", _fingerprint(smoke(), teacher="other")),
        ("latency table", _fingerprint(smoke(), table="other")),
    ],
)
def test_a_difference_is_named_with_both_sides(name: str, other: dict[str, str]) -> None:
    stored = _fingerprint(smoke())
    with pytest.raises(UsageError) as caught:
        check_fingerprint("s", stored, other)
    assert f"{name} {stored[name]} -> {other[name]}" in str(caught.value)
    assert "--study NAME" in str(caught.value)


def test_many_differences_still_are_three_lines() -> None:
    with pytest.raises(UsageError, match="and 7 more") as caught:
        check_fingerprint("s", _fingerprint(smoke()), {})
    assert len(str(caught.value).splitlines()) == 3
