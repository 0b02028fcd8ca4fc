import numpy
import pytest

from profilers.backends.abstract import AbstractRunner
from profilers.bundling.run_bundle import MIN_WARM_UP_S, Sampling, runs_per_sample, warm_up
from profilers.timing import take_samples_in_turn_ms


class ColdRunner(AbstractRunner):
    """A block that is 39 times slower until it has run twice, and after every rest."""

    def __init__(self, run_s: float) -> None:
        self.run_s = run_s
        self.num_runs = 0
        self.total_s = 0.0
        self.is_rested = False

    def run(self, num_runs: int) -> float:
        duration_s = sum(
            self.run_s * (39 if self.num_runs + index < 2 or (self.is_rested and index == 0) else 1)
            for index in range(num_runs)
        )
        self.is_rested = False
        self.num_runs += num_runs
        self.total_s += duration_s
        return duration_s


@pytest.mark.parametrize("run_s", [1e-6, 1e-4, 0.0004, 0.2])
def test_warm_up_lasts_long_enough_and_sees_the_warm_speed(run_s: float) -> None:
    runner = ColdRunner(run_s)
    sampling = warm_up(runner.run, first_run_s=runner.run(1))
    assert runner.num_runs >= 2
    assert runner.total_s >= MIN_WARM_UP_S
    assert sampling.num_runs * run_s >= 0.0009


def test_a_first_run_that_loads_kernels_is_no_warm_up() -> None:
    runner = ColdRunner(0.0004)
    warm_up(runner.run, first_run_s=0.3)
    assert runner.total_s >= MIN_WARM_UP_S


def test_a_rested_block_is_timed_warm() -> None:
    runner = ColdRunner(0.0004)
    sampling = warm_up(runner.run, first_run_s=runner.run(1))
    runner.is_rested = True
    assert sampling.take_ms(runner.run) == pytest.approx(0.4)


@pytest.mark.parametrize(("run_s", "num_runs"), [(0.03, 2), (0.051, 1)])
def test_a_large_network_runs_once_for_a_sample(run_s: float, num_runs: int) -> None:
    runner = ColdRunner(run_s)
    sampling = warm_up(runner.run, first_run_s=runner.run(1))
    num_before = runner.num_runs
    assert sampling.take_ms(runner.run) == pytest.approx(1000 * run_s)
    assert runner.num_runs - num_before == num_runs


@pytest.mark.parametrize("is_led", [True, False])
def test_no_sample_chooses_by_its_own_value(is_led: bool) -> None:
    noise = numpy.random.default_rng(0).normal(0.05, 0.004, size=20_000)
    runs_s = iter(noise)
    sampling = Sampling(num_runs=1, is_led=is_led)
    samples_ms = [sampling.take_ms(lambda _: float(next(runs_s))) for _ in range(10_000)]
    assert numpy.median(samples_ms) == pytest.approx(50, rel=0.005)


@pytest.mark.parametrize(("run_s", "num_runs"), [(1e-5, 100), (0.0009, 2), (0.001, 1), (5.0, 1)])
def test_a_sample_lasts_a_millisecond(run_s: float, num_runs: int) -> None:
    assert runs_per_sample(run_s) == num_runs


def test_blocks_in_turn_run_singly_after_one_another_and_after_an_untimed_pass() -> None:
    runners = {slot: ColdRunner(run_s) for slot, run_s in {7: 0.001, 3: 0.002, 5: 0.003}.items()}
    for runner in runners.values():
        runner.run(1)  # the second run, in the untimed pass, is still a cold one
    announced: list[int] = []
    samples_ms = take_samples_in_turn_ms(runners, num_passes=4, announce=announced.append)
    assert samples_ms == pytest.approx({7: 1.0, 3: 2.0, 5: 3.0})
    assert announced == [7, 3, 5] * 5
    assert [runner.num_runs for runner in runners.values()] == [6] * 3


def test_one_stray_run_does_not_move_a_sample_in_turn() -> None:
    class Disturbed(ColdRunner):
        """Interrupted once, in its third timed run."""

        def run(self, num_runs: int) -> float:
            return super().run(num_runs) + (0.05 if self.num_runs == 5 else 0.0)

    runner = Disturbed(0.001)
    runner.run(1)
    samples_ms = take_samples_in_turn_ms({0: runner}, num_passes=4, announce=lambda slot: None)
    assert runner.num_runs == 6
    assert samples_ms == pytest.approx({0: 1.0})
