from collections.abc import Callable

import numpy
import pytest

from profilers import modes
from profilers.modes import two_modes

Draw = Callable[[numpy.random.Generator, int], numpy.ndarray]

ONE_MODE: dict[str, Draw] = {
    "uniform": lambda generator, n: generator.random(n),
    "normal": lambda generator, n: generator.normal(size=n),
    "exponential": lambda generator, n: generator.exponential(size=n),
    "log-normal": lambda generator, n: generator.lognormal(0, 1, n),
    "Student's t": lambda generator, n: generator.standard_t(3, n),
}


def share_found(draw: Draw, num_samples: int, *, num_rows: int = 1000) -> float:
    """How many of the simulated rows are said to have two modes."""
    generator = numpy.random.default_rng(0)
    return sum(two_modes(draw(generator, num_samples).tolist()) is not None for _ in range(num_rows)) / num_rows


@pytest.mark.parametrize("name", ONE_MODE)
@pytest.mark.parametrize("num_samples", [12, 20, 28])
def test_false_alarms_are_rare_however_wide_the_samples_spread(
    name: str, num_samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modes, "MIN_GAP", -1e9)  # the shape alone decides
    assert share_found(ONE_MODE[name], num_samples) <= (0.015 if num_samples == 12 else 0.01)


def test_a_spread_of_one_percent_never_alarms() -> None:
    assert share_found(lambda generator, n: 1 + 0.01 * generator.normal(size=n), 12) == 0


@pytest.mark.parametrize(("share", "num_samples"), [(0.5, 20), (0.5, 28), (0.35, 28)])
def test_two_heaps_ten_spreads_apart_are_found(share: float, num_samples: int) -> None:
    def draw(generator: numpy.random.Generator, n: int) -> numpy.ndarray:
        return 1 + 0.01 * generator.normal(size=n) + 0.1 * (generator.random(n) < share)

    assert share_found(draw, num_samples, num_rows=300) > 0.8


def test_where_the_heaps_are() -> None:
    found = two_modes([1.0, 1.001, 1.002, 1.003, 1.004, 1.005, 2.0, 2.01, 2.02, 1.0, 1.001, 1.002])
    assert found is not None
    assert (found.num_low, found.num_high) == (9, 3)
    assert (found.low_ms, found.high_ms) == pytest.approx((1.002, 2.01))


def test_a_stray_run_makes_no_second_mode_and_hides_none() -> None:
    assert two_modes([1 + 0.001 * index for index in range(19)] + [9.0]) is None
    heaps = [1 + 0.001 * index for index in range(10)] + [2 + 0.001 * index for index in range(10)]
    assert two_modes([*heaps, 9.0]) is not None


def test_heaps_less_than_three_percent_apart_do_not_matter() -> None:
    assert two_modes([1.0] * 10 + [1.029] * 10) is None
    assert two_modes([1.0] * 10 + [1.032] * 10) is not None


def test_few_samples_say_nothing() -> None:
    assert two_modes([1.0] * 5 + [2.0] * 6) is None
    assert two_modes([1.0] * 6 + [2.0] * 6) is not None
