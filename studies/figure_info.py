"""What the figures of a study show, as typed data: the first of two steps. Imports no torch and no Plotly.

    records -> ParetoInfo              which architectures are worth choosing
    records -> HypervolumeInfo         whether the search still finds anything
    LatencyEstimate -> BreakdownInfo   where the milliseconds of one architecture go

`studies.figures` draws them. All of this is pure, so tests check numbers instead of pictures.
"""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from profilers.estimating import BlockLatency, LatencyEstimate
from studies.results import LATENCY_OBJECTIVE, LatencyCaveat, StudySummary, TrialRecord, pareto_front

Group = Literal["front", "dominated"]


@dataclass(frozen=True, kw_only=True)
class ParetoPoint:
    """One architecture in the plane of latency and quality."""

    number: int
    """Trial."""
    latency_ms: float
    """Its latency on the study's device."""
    score: float
    """Its value of the other objective."""
    group: Group
    """Whether it is on the front or dominated by another."""


@dataclass(frozen=True, kw_only=True)
class ParetoInfo:
    """What the Pareto figure shows."""

    points: tuple[ParetoPoint, ...]
    """Feasible trials with finite values, by number; a duplicate is left out, since its point is drawn already."""
    over_budget: tuple[tuple[int, float], ...]
    """Trial and latency of each architecture that broke the budget and so was never scored."""
    score_name: str
    """The other objective."""
    is_score_maximized: bool
    """Whether more of it is better."""
    device_name: str
    """What the latencies belong to."""
    latency_caveat: LatencyCaveat
    """What the milliseconds are, where they are no sums of measured blocks."""
    latency_budget_ms: float | None
    """The most that the winner may take; None: no budget."""

    def group(self, group: Group) -> tuple[ParetoPoint, ...]:
        """The points of a group, from fast to slow."""
        chosen = (point for point in self.points if point.group == group)
        return tuple(sorted(chosen, key=lambda point: point.latency_ms))


@dataclass(frozen=True, kw_only=True)
class BreakdownSection:
    """The part of a network that its rows in the breakdown figure stand for."""

    name: str
    """Path of a module, such as `down_blocks.0`, or the name of a lone block."""
    blocks: tuple[BlockLatency, ...]
    """Its blocks in the order in which they run."""

    @property
    def latency_ms(self) -> float:
        return math.fsum(block.latency_ms for block in self.blocks)


@dataclass(frozen=True, kw_only=True)
class BreakdownInfo:
    """What the breakdown figure shows: every block once, so that the bars sum to the total."""

    sections: tuple[BreakdownSection, ...]
    """In the order in which they run."""
    latency_ms: float
    """The total."""
    labels: tuple[str, ...]
    """What has to stand beside these milliseconds; see `LatencyEstimate.labels`."""


@dataclass(frozen=True, kw_only=True)
class HypervolumeInfo:
    """What the history figure shows."""

    numbers: tuple[int, ...]
    """Feasible trials with finite values."""
    hypervolumes: tuple[float, ...]
    """The area between the front after each of them and the reference point."""
    reference_point: tuple[float, float]
    """Latency and score that bound the area."""


def pareto_info(study: StudySummary, records: Sequence[TrialRecord]) -> ParetoInfo:
    """Sorts the trials of a study into the groups of the Pareto figure."""
    feasible = [record for record in records if record.is_feasible and _is_finite(record)]
    front = {record.number for record in pareto_front(feasible)}
    score = study.objectives[-1]
    return ParetoInfo(
        points=tuple(
            ParetoPoint(
                number=record.number,
                latency_ms=record.values[LATENCY_OBJECTIVE],
                score=record.values[score.name],
                group="front" if record.number in front else "dominated",
            )
            for record in feasible
        ),
        over_budget=tuple(
            (record.number, record.latency_ms)
            for record in records
            if record.state == "infeasible" and record.latency_ms is not None and math.isfinite(record.latency_ms)
        ),
        score_name=score.name,
        is_score_maximized=score.direction == "maximize",
        device_name=study.device,
        latency_caveat=study.latency_caveat,
        latency_budget_ms=study.latency_budget_ms,
    )


def breakdown_info(estimate: LatencyEstimate) -> BreakdownInfo:
    """Groups the blocks of an estimate by the part of the network that they belong to."""
    blocks: dict[str, list[BlockLatency]] = {}
    for block in estimate.blocks:
        parts = block.name.split(".")
        section = ".".join(parts[:2]) if parts[0] in ("down_blocks", "up_blocks") else parts[0]
        blocks.setdefault(section, []).append(block)
    return BreakdownInfo(
        sections=tuple(BreakdownSection(name=name, blocks=tuple(group)) for name, group in blocks.items()),
        latency_ms=estimate.latency_ms,
        labels=estimate.labels,
    )


def hypervolume_info(study: StudySummary, records: Sequence[TrialRecord]) -> HypervolumeInfo | None:
    """How much the front covered after each feasible trial; None before the first feasible one.

    The reference point is the latency budget (or the worst latency) and the worst score, of feasible trials.
    """
    feasible = [record for record in records if record.is_feasible and _is_finite(record)]
    if not feasible:
        return None
    score = study.objectives[-1]
    worst_latency_ms = study.latency_budget_ms or max(record.losses[0] for record in feasible)
    reference = (worst_latency_ms, max(record.losses[1] for record in feasible))
    front = _Front(reference)
    hypervolumes = []
    for record in feasible:
        front.add(*record.losses)
        hypervolumes.append(front.area)
    return HypervolumeInfo(
        numbers=tuple(record.number for record in feasible),
        hypervolumes=tuple(hypervolumes),
        reference_point=(reference[0], score.loss(reference[1])),
    )


class _Front:
    """A Pareto front of two losses that knows the area between itself and a reference point."""

    def __init__(self, reference: tuple[float, float]) -> None:
        self._reference = reference
        self._points: list[tuple[float, float]] = []  # first loss rising, second falling
        self.area = 0.0

    def add(self, first: float, second: float) -> None:
        if first > self._reference[0] or second > self._reference[1]:
            return
        place = bisect.bisect_left(self._points, (first, second))
        if place and self._points[place - 1][1] <= second:
            return  # an earlier point is at least as good in both
        end = place
        while end < len(self._points) and self._points[end][1] >= second:
            end += 1
        right = self._points[end][0] if end < len(self._points) else self._reference[0]
        left_second = self._points[place - 1][1] if place else self._reference[1]
        corners = [(first, left_second), *self._points[place:end]]  # what the old front was from here to `right`
        for (start, height), (stop, _) in zip(corners, [*corners[1:], (right, 0.0)], strict=True):
            self.area += (stop - start) * (height - second)
        self._points[place:end] = [(first, second)]


def _is_finite(record: TrialRecord) -> bool:
    return all(map(math.isfinite, record.values.values()))
