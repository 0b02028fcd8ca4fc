"""How one sample is taken: of a block in turn with others, of a whole network in a loop of its own.

A cold small block can take 39 times its median, so every subject is warmed up once after loading, and runs once untimed
shortly before it is timed. A large network need not: no cache holds its weights from one run to the next, and its first
run after another network's is as fast as those that follow (`docs/log.md`, 2026-11-26).

A block must not be too warm either. Run in a tight loop it finds its weights in the innermost cache, where they never
are inside a network: by the time a block's turn comes again, all the other blocks have run. Measured on two cores with
512 KiB of level-2 cache each, the sum of blocks timed in a loop is 14 % below the whole network; of blocks timed one
run at a time, in network order, 4 % above it, 2 of which are the calls into the runtime. A whole network follows itself
when it is used, so it is timed in a loop.

Where a single run cannot be timed, because a GPU queues it or a browser's clock is coarse, blocks are looped as well.
"""

import math
import statistics
from collections.abc import Callable, Mapping

from profilers.backends.abstract import AbstractRunner

MIN_WARM_UP_RUNS = 2
MIN_WARM_UP_S = 0.05
MIN_SAMPLE_S = 0.001
LONG_RUN_S = 0.05
"""A run that takes so long is that of a large network; seen with networks of 117 ms and more, on one processor."""


def warm_up(runner: AbstractRunner, *, first_run_s: float) -> int:
    """Runs until the subject is warm; returns how many runs a looped sample needs to last a millisecond."""
    num_runs = total_runs = 1
    last_s, total_s = first_run_s, 0.0  # the first run may load kernels for longer than a warm-up takes
    while total_runs < MIN_WARM_UP_RUNS or total_s < MIN_WARM_UP_S:
        num_runs = runs_per_sample(last_s / num_runs)
        last_s = runner.run(num_runs)
        total_runs, total_s = total_runs + num_runs, total_s + last_s
    return runs_per_sample(last_s / num_runs)


def take_sample_ms(runner: AbstractRunner, *, num_runs: int) -> float:
    """Milliseconds of one run, from a timed loop of `num_runs`; of a long one, from the run before that loop."""
    before_s = runner.run(1)
    return 1000 * (before_s if before_s >= LONG_RUN_S else runner.run(num_runs) / num_runs)


def take_samples_in_turn_ms(
    runners: Mapping[int, AbstractRunner], *, num_passes: int, announce: Callable[[int], None]
) -> dict[int, float]:
    """Milliseconds of one run of each: the median of `num_passes` single runs, each right after another runner's run.

    Args:
        runners: What runs, in this order, by slot; an untimed pass through all of them comes first.
        num_passes: Timed passes.
        announce: Called with a slot before its runner runs.
    """
    durations_s: dict[int, list[float]] = {slot: [] for slot in runners}
    for _ in range(1 + num_passes):
        for slot, runner in runners.items():
            announce(slot)
            durations_s[slot].append(runner.run(1))
    return {slot: 1000 * statistics.median(each[1:]) for slot, each in durations_s.items()}


def runs_per_sample(run_s: float) -> int:
    return max(1, math.ceil(MIN_SAMPLE_S / run_s))
