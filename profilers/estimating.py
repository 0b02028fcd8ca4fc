"""The latency of a whole network as the sum of its blocks, with an interval and a breakdown. Imports no torch.

    estimate(arch, table, device).latency_ms

A sum is an estimate, never a measurement; `python -m profilers.check` says how far it is off. A block that the table
does not hold is an error that names it: a zero in its place would make the search love it.
"""

import math
from dataclasses import dataclass

from profilers.device import Device
from profilers.latency_record import LatencyRecord
from profilers.latency_table import LatencyTable
from profilers.subject import Subject
from search_space.arch import ArchConfig
from search_space.errors import UsageError
from search_space.walk import walk

_NORMAL_95 = 1.96


class MissingLatencyError(UsageError):
    """The table does not hold a block of the network, or the device could not run it."""


@dataclass(frozen=True, kw_only=True)
class BlockLatency:
    """One block's share of an estimate."""

    name: str
    """Path of the block's module."""
    kind: str
    """Kind of its spec."""
    latency_ms: float
    """Its measured median, times the device's scale if there is one."""


@dataclass(frozen=True, kw_only=True)
class LatencyEstimate:
    """How long one network should take on one device."""

    latency_ms: float
    """Sum of the blocks."""
    low_ms: float
    """Lower end of the 95 % interval."""
    high_ms: float
    """Upper end of the 95 % interval."""
    blocks: tuple[BlockLatency, ...]
    """Every block in the order in which they run; they sum to `latency_ms`."""
    scale: float | None
    """The factor that `profilers.check` fitted for the device and that is in every number here; None without one."""
    is_estimate: bool
    """Whether the blocks' own milliseconds come from a formula instead of a clock."""


def estimate(arch: ArchConfig, table: LatencyTable, device: Device) -> LatencyEstimate:
    """Sums the blocks of a network.

    The interval holds the blocks' own intervals, as independent errors, and, with a fitted scale, what that scale left
    unexplained on whole networks.

    Raises:
        MissingLatencyError: The table lacks a block, or the device could not run one.
    """
    placed = [(block, Subject.of_block(block.spec)) for block in walk(arch)]
    records = table.records(device, dict.fromkeys(subject for _, subject in placed))
    card = table.scale_card(device)
    scale = card.scale if card else 1.0
    blocks = tuple(
        BlockLatency(
            name=block.name,
            kind=block.spec.kind,
            latency_ms=scale * _known(records.get(subject), block.name, subject, device).median_ms,
        )
        for block, subject in placed
    )
    latency_ms = math.fsum(block.latency_ms for block in blocks)
    unexplained_ms = _NORMAL_95 * card.residual * latency_ms if card else 0.0
    num_uses = {subject: sum(other == subject for _, other in placed) for subject in records}
    below = [scale * num_uses[subject] * (record.median_ms - record.low_ms) for subject, record in records.items()]
    above = [scale * num_uses[subject] * (record.high_ms - record.median_ms) for subject, record in records.items()]
    return LatencyEstimate(
        latency_ms=latency_ms,
        low_ms=latency_ms - math.hypot(unexplained_ms, *below),
        high_ms=latency_ms + math.hypot(unexplained_ms, *above),
        blocks=blocks,
        scale=card.scale if card else None,
        is_estimate=device.is_estimate,
    )


def _known(record: LatencyRecord | None, name: str, subject: Subject, device: Device) -> LatencyRecord:
    if record is not None and record.has_latency:
        return record
    if record is not None and record.status == "failed":
        raise MissingLatencyError(
            f"{device.name} could not run {name} {subject.text}: {record.reason}",
            fix=f"python -m profilers.measure --device {device.name} --again tries once more",
        )
    raise MissingLatencyError(
        f"no latency of {name} {subject.text} on {device.name} ({device.device_id})",
        fix=f"python -m profilers.measure --device {device.name} measures every block of a space",
    )
