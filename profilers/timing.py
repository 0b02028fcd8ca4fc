"""How one sample is taken: warm-up, one untimed run, then a loop that is long enough for the clock.

A cold small block can take 39 times its median, and a block that rested while others ran is half cold again. So every
subject is warmed up once after loading, and runs once untimed right before each timed loop.
"""

import math

from profilers.backends.abstract import AbstractRunner

MIN_WARM_UP_RUNS = 2
MIN_WARM_UP_S = 0.05
MIN_SAMPLE_S = 0.001


def warm_up(runner: AbstractRunner) -> int:
    """Runs until the subject is warm; returns how many runs a sample needs to last a millisecond."""
    num_runs = total_runs = 1
    total_s = last_s = runner.run(1)
    while total_runs < MIN_WARM_UP_RUNS or total_s < MIN_WARM_UP_S:
        num_runs = runs_per_sample(last_s / num_runs)
        last_s = runner.run(num_runs)
        total_runs, total_s = total_runs + num_runs, total_s + last_s
    return runs_per_sample(last_s / num_runs)


def take_sample_ms(runner: AbstractRunner, *, num_runs: int) -> float:
    """Milliseconds of one run, from a timed loop of `num_runs`."""
    runner.run(1)
    return 1000 * runner.run(num_runs) / num_runs


def runs_per_sample(run_s: float) -> int:
    return max(1, math.ceil(MIN_SAMPLE_S / run_s))
