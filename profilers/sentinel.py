"""One fixed block that is measured again and again, to see how fast the machine is right now.

Every sample is divided by the sentinel's drift around it, and a round in which the sentinel moves by more than the
rules allow is flagged: its samples count only where they help. Fifteen companions of the sentinel's size run beside it
where a campaign has too few blocks of its own to run in turn (see `profilers.timing`).
"""

import bisect
import dataclasses
import itertools
import statistics
from collections.abc import Iterator, Sequence

from profilers.protocol import Protocol
from profilers.subject import Subject
from search_space.specs import ResidualSpec

_SPEC = ResidualSpec(
    in_channels=64,
    skip_channels=0,
    hidden_channels=64,
    out_channels=64,
    size=16,
    time_width=256,
    convolution="full",
    kernel=3,
    norm_groups=32,
)

SENTINEL = Subject.of_block(_SPEC)

COMPANIONS = tuple(
    Subject.of_block(dataclasses.replace(_SPEC, time_width=_SPEC.time_width + 8 * step)) for step in range(1, 16)
)


def between_probes(order: Sequence[Subject], protocol: Protocol) -> Iterator[list[Subject]]:
    """What is sampled from one look at the sentinel to the next: some blocks, or one network, which takes long."""
    for _, same in itertools.groupby(order, key=lambda subject: subject.kind):
        subjects = list(same)
        step = 1 if subjects[0].kind == "network" else protocol.sentinel_every
        for start in range(0, len(subjects), step):
            yield subjects[start : start + step]


def local_sentinels_ms(probes_ms: Sequence[float], probe_positions: Sequence[int], *, num_samples: int) -> list[float]:
    """How slow the sentinel was around each sample of a round: the median of the two looks before and the two after.

    Args:
        probes_ms: The sentinel, at least once before the first sample and once after the last.
        probe_positions: How many samples had been taken at each of these looks, rising.
        num_samples: Samples of the round.
    """
    sentinels_ms = []
    for position in range(num_samples):
        following = bisect.bisect_right(probe_positions, position)  # the first look after this sample
        sentinels_ms.append(statistics.median(probes_ms[max(following - 2, 0) : following + 2]))
    return sentinels_ms


def has_moved(probes_ms: Sequence[float], protocol: Protocol) -> bool:
    """Whether the sentinel was slower in one half of a round than in the other by more than the rules allow."""
    middle = len(probes_ms) // 2
    first_ms, second_ms = statistics.median(probes_ms[:middle]), statistics.median(probes_ms[middle:])
    return abs(second_ms / first_ms - 1) > protocol.max_drift
