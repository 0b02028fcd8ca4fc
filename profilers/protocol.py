"""The rules of a measuring campaign: how often everything is measured, and when it is known well enough."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from profilers.measurement import Sample, measurement_of
from search_space.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The rules of a campaign; stored with it."""

    min_rounds: int = 8
    """No subject is finished with fewer samples."""
    max_rounds: int = 50
    """A subject with this many samples is finished, stable or not."""
    sentinel_every: int = 16
    """Blocks between two looks at the sentinel, also those that run in turn. A network has a look on either side."""
    num_yardsticks: int = 8
    """Looks at the yardstick, a fixed network, in a round of networks."""
    num_passes: int = 4
    """Timed single runs of a block in one sample, each right after another block's run."""
    num_calibration_probes: int = 60
    """Looks at the sentinel that set its reference, before a device's first campaign; and at the yardstick."""
    max_drift: float = 0.03
    """How far the sentinel may move within a round."""
    max_group_bytes: int | None = None
    """Weights that are loaded at once, to be measured in turn; None: what there is room for."""
    has_second_chance: bool = True
    """Whether what is unstable at the end is measured again."""
    max_unstable_share: float = 0.25
    """With more than this share unstable the machine is at fault, and measuring again at once would not help."""
    num_always_again: int = 4
    """So many unstable subjects are measured again whatever share they are."""
    max_cooling_s: float = 60.0
    """How long a round waits at most for a hot machine to cool down."""
    preparing_limit_s: float = 900.0
    """For exporting or compiling one subject: a whole network for ExecuTorch takes minutes on a busy machine."""
    loading_limit_s: float = 900.0
    """For loading and warming up one subject: Core ML and torch.compile compile a whole network for minutes."""
    time_limit_s: float = 120.0
    """For one sample more than it should take."""
    min_process_s: float = 10.0
    """How long a measuring process measures before a new one takes over."""
    max_loading_share: float = 1 / 6
    """Of the time, for loading and warming up in new processes: what takes long to load stays longer."""
    max_loading_share_in_turns: float = 0.5
    """The same while others, which memory does not hold as well, wait for their turn: it should come round often."""
    seed: int = 0
    """Of the random orders."""

    def process_end_s(self, started_s: float, loaded_s: float, *, in_turns: bool) -> float:
        """When a process that was started and had loaded everything then gives way to a new one, on the same clock."""
        share = self.max_loading_share_in_turns if in_turns else self.max_loading_share
        return loaded_s + max(self.min_process_s, (loaded_s - started_s) * (1 - share) / share)

    def second_chance(self) -> "Protocol":
        """The rules for what is unstable at the end: as many rounds again, on top of those it has had."""
        return dataclasses.replace(self, max_rounds=2 * self.max_rounds, seed=self.seed + 1)

    def in_short_time(self) -> "Protocol":
        """The rules for when time is short: what one more pass says of a block, another block says of many."""
        return dataclasses.replace(self, num_passes=2, has_second_chance=False)


FORMULA_PROTOCOL = Protocol(min_rounds=2, max_rounds=2, num_calibration_probes=1, max_group_bytes=2**63)
"""For a device whose milliseconds come from a formula: they are the same every time, and no weights are loaded."""

BUDGET_PROTOCOL = Protocol(max_rounds=Protocol.min_rounds).in_short_time()
"""For a budget, unless it is given more rounds: the fewest, since another block says more than another round."""

ROUNDS_PER_LOOK = 4
"""An interval takes milliseconds: of hundreds of blocks, every round, a quarter of the round."""


def protocol_of(max_rounds: int) -> Protocol | None:
    """The usual rules with another number of rounds; None, which is each device's own rules, for 0.

    Raises:
        UsageError: It is less than the fewest rounds.
    """
    if max_rounds == 0:
        return None
    if max_rounds < Protocol.min_rounds:
        raise UsageError(f"--max-rounds {max_rounds} was given", allowed=f"at least {Protocol.min_rounds}")
    return Protocol(max_rounds=max_rounds)


def is_finished(samples: Sequence[Sample], protocol: Protocol) -> bool:
    """Whether a subject needs no more samples: its median is known to +-1 %, or it has had its chances."""
    num_more = len(samples) - protocol.min_rounds
    if num_more < 0:
        return False
    if len(samples) >= protocol.max_rounds:
        return True
    return num_more % ROUNDS_PER_LOOK == 0 and measurement_of(samples).is_stable
