import pytest

from profilers.durations import duration_s_of
from search_space.errors import UsageError


@pytest.mark.parametrize(("text", "duration_s"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("0.5s", 0.5)])
def test_durations_are_read(text: str, duration_s: float) -> None:
    assert duration_s_of(text) == duration_s


@pytest.mark.parametrize("text", ["", "10", "m", "-1m", "0s", "1e3s", "10 m", "nan", "10m10s"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="90s, 10m"):
        duration_s_of(text)
