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
Warming up and the loop stand in the file that travels to a Mac: `run_bundle.warm_up` and `run_bundle.Sampling`.
"""

import statistics
from collections.abc import Callable, Mapping

from profilers.backends.abstract import AbstractRunner


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
