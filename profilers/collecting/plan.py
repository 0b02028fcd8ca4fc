"""What a job asks for, and what it asks for next: a pure function of its subjects and of what came in so far.

The page knows no rules. It gets a portion of a round, subject by subject in the order the server drew, and sends the
samples back; whether one is known well enough is decided here, from raw samples, by the rules of every other device,
except that it has fewer rounds. So a page that was closed goes on with the portion it had, and nothing about a campaign
lives in the page.
"""

import dataclasses
import hashlib
import itertools
import json
import math
import random
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from profilers.collecting.messages import Portion
from profilers.measurement import Sample
from profilers.needed_memory import portions
from profilers.protocol import Protocol, is_finished
from profilers.sentinel import COMPANIONS, between_probes, has_moved, local_sentinels_ms
from profilers.subject import Subject

PROTOCOL = Protocol(max_rounds=28)  # a page has to stay open all the while
MAX_GROUP_BYTES = 64 * 2**20  # a tab of a phone is closed when it takes some hundred MB
PORTION_SIZE = 48  # what a page that is closed by its browser loses at most
_CLOCK_TOLERANCE_MS = 2.0  # a phone's clock may be that coarse


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The blocks and networks of a job, in groups that fit into a phone's memory together."""

    plan_id: str
    """32 hex digits of a hash over a random number and the subjects: an answer to another question does not have it."""
    seed: int
    """Of the random orders."""
    groups: tuple[tuple[Subject, ...], ...]
    """Every subject is in exactly one group. All of a group are blocks, or all are networks."""

    @classmethod
    def of_subjects(cls, subjects: Sequence[Subject], *, seed: int, nonce: str) -> Self:
        """Groups the subjects in a random order, so that equal kinds of blocks do not share one group.

        Networks come after the blocks: a block that follows a whole network finds the caches swept.
        """
        shuffled = random.Random(seed).sample(subjects, len(subjects))
        blocks = [subject for subject in shuffled if subject.kind == "block"]
        networks = [subject for subject in shuffled if subject.kind == "network"]
        groups = tuple(tuple(group) for alike in (blocks, networks) for group in portions(alike, MAX_GROUP_BYTES))
        keys = [subject.subject_id for group in groups for subject in group]
        plan_id = hashlib.sha256("\n".join([nonce, *keys]).encode()).hexdigest()[:32]
        return cls(plan_id=plan_id, seed=seed, groups=groups)

    @property
    def subjects(self) -> tuple[Subject, ...]:
        return tuple(subject for group in self.groups for subject in group)

    def to_json(self) -> str:
        groups = [[dataclasses.asdict(subject) for subject in group] for group in self.groups]
        return json.dumps({"plan_id": self.plan_id, "seed": self.seed, "groups": groups})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads what `to_json` wrote into our own database."""
        document = json.loads(text)
        groups = tuple(tuple(_subject(entry) for entry in group) for group in document["groups"])
        return cls(plan_id=document["plan_id"], seed=document["seed"], groups=groups)


def _subject(entry: dict[str, str] | str) -> Subject:
    """What a plan holds; those of an earlier version held the texts of blocks."""
    return Subject(kind="block", text=entry) if isinstance(entry, str) else Subject(**entry)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Received:
    """One portion that came in."""

    portion: Portion
    """As the page sent it, checked."""
    received_at: float
    """Seconds since 1970, by the server's clock."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """What is measured from one look at the sentinel to the next."""

    subjects: tuple[Subject, ...]
    """Some blocks, or one network, in the order in which they are to be measured."""
    companions: tuple[Subject, ...]
    """Where these blocks are too few to run in turn: others that run along and are not sampled. None for a network."""

    @property
    def kind(self) -> Literal["block", "network"]:
        return self.subjects[0].kind


@dataclass(frozen=True, kw_only=True)
class Work:
    """The portion that is asked for next."""

    group_index: int
    """Blocks of another group can be dropped."""
    round_index: int
    """The round within the group."""
    portion_index: int
    """The portion within the round."""
    num_active: int
    """Blocks of the group that this round measures."""
    chunks: tuple[Chunk, ...]
    """In the order in which they are to be measured."""

    @property
    def subjects(self) -> tuple[Subject, ...]:
        return tuple(subject for chunk in self.chunks for subject in chunk.subjects)


def next_work(plan: Plan, received: Sequence[Received]) -> Work | None:
    """The first portion that has not come in; None when every block is known well enough or has failed.

    Groups are answered in their order: those before the last one that anything came in for are done, and what came in
    for them may be left out.
    """
    first = max((item.portion.group_index for item in received), default=0)
    received = [item for item in received if item.portion.group_index == first]
    samples, failures = samples_of(plan, received)
    for group_index, group in enumerate(plan.groups[first:], start=first):
        portions = [item.portion for item in received if item.portion.group_index == group_index]
        round_index = max((portion.round_index for portion in portions), default=0)
        num_portions = sum(portion.round_index == round_index for portion in portions)
        failed_before = {
            failure.key for portion in portions if portion.round_index < round_index for failure in portion.failures
        }
        order = _order(plan, group_index, round_index, _unfinished(group, samples, failed_before, before=round_index))
        if num_portions * PORTION_SIZE >= len(order):  # the round is whole
            round_index, num_portions = round_index + 1, 0
            active = _unfinished(group, samples, failures, before=round_index)
            order = _order(plan, group_index, round_index, active)
        if order:
            start = num_portions * PORTION_SIZE
            asked = order[start : start + PORTION_SIZE]
            generator = random.Random(f"{plan.seed} {group_index} {round_index} {num_portions}")
            runnable = [subject for subject in group if subject.subject_id not in failures]
            return Work(
                group_index=group_index,
                round_index=round_index,
                portion_index=num_portions,
                num_active=len(order),
                chunks=tuple(_chunk(part, runnable, generator) for part in between_probes(asked, PROTOCOL)),
            )
    return None


def progress_of(plan: Plan, work: Work | None) -> tuple[int, int]:
    """How many samples are done, and how many there may be at most; a block that is known early counts as whole."""
    num_rounds = PROTOCOL.max_rounds
    num_total = len(plan.subjects) * num_rounds
    if work is None:
        return num_total, num_total
    num_earlier = sum(map(len, plan.groups[: work.group_index]))
    num_known = num_earlier + len(plan.groups[work.group_index]) - work.num_active
    num_done = num_known * num_rounds + work.num_active * work.round_index + work.portion_index * PORTION_SIZE
    return num_done, num_total


def samples_of(
    plan: Plan, received: Sequence[Received], *, reference_ms: float | None = None
) -> tuple[dict[Subject, list[Sample]], dict[str, str]]:
    """Every subject's samples, drift divided out, and the reason of every one that failed, by its key.

    Args:
        plan: What was asked for.
        received: What came in, in that order.
        reference_ms: The device's sentinel as the table knows it; this job's own median by default.
    """
    by_key = {subject.subject_id: subject for subject in plan.subjects}
    reference_ms = reference_ms or sentinel_ms(received)
    samples: dict[Subject, list[Sample]] = {}
    failures: dict[str, str] = {}
    for item in received:
        portion = item.portion
        probes_ms = [statistics.median(probe.raw_ms) for probe in portion.probes]
        positions = [probe.position for probe in portion.probes]
        sentinels_ms = local_sentinels_ms(probes_ms, positions, num_samples=len(portion.samples))
        is_flagged = has_moved(probes_ms, PROTOCOL)
        began_at = item.received_at - portion.probes[-1].at_ms / 1000
        for position, sample in enumerate(portion.samples):
            samples.setdefault(by_key[sample.key], []).append(
                Sample(
                    raw_ms=sample.raw_ms,
                    num_runs=sample.num_runs,
                    drift=sentinels_ms[position] / reference_ms,
                    round_index=portion.round_index,
                    position=portion.portion_index * PORTION_SIZE + position,
                    taken_at=began_at + sample.at_ms / 1000,
                    is_flagged=is_flagged,
                )
            )
        failures |= {failure.key: failure.reason for failure in portion.failures}
    return samples, failures


def sentinel_ms(received: Iterable[Received]) -> float:
    """The median of every look at the sentinel; NaN before the first."""
    probes_ms = [statistics.median(probe.raw_ms) for item in received for probe in item.portion.probes]
    return statistics.median(probes_ms) if probes_ms else math.nan


def contradiction(portion: Portion, work: Work) -> str | None:
    """Why this cannot be the answer to what was asked; None if it can."""
    where = (portion.group_index, portion.round_index, portion.portion_index)
    if where != (work.group_index, work.round_index, work.portion_index):
        return "this portion was not asked for"
    asked = [subject.subject_id for subject in work.subjects]
    failed = {failure.key for failure in portion.failures}
    if [sample.key for sample in portion.samples] != [key for key in asked if key not in failed]:
        return "the samples are not those of the blocks asked for, in their order"
    if len(failed) != len(portion.failures) or not failed <= set(asked):
        return "the failures are not those of blocks asked for"
    positions = [probe.position for probe in portion.probes]
    if positions[0] != 0 or positions[-1] != len(portion.samples) or positions != sorted(positions):
        return "the sentinel was not looked at from the beginning to the end"
    return _broken_clock(portion)


def _broken_clock(portion: Portion) -> str | None:
    """Everything has to begin in order, and to fit between two looks at the sentinel."""
    starts_ms: list[float] = []
    for probe, following in itertools.pairwise(portion.probes):
        samples = portion.samples[probe.position : following.position]
        starts_ms += [probe.at_ms, *(sample.at_ms for sample in samples)]
        busy_ms = sum(probe.raw_ms) * probe.num_runs + sum(sample.raw_ms * sample.num_runs for sample in samples)
        if probe.at_ms + busy_ms > following.at_ms + _CLOCK_TOLERANCE_MS:
            return "the samples lasted longer than the time in which they were taken"
    starts_ms.append(portion.probes[-1].at_ms)
    if starts_ms != sorted(starts_ms):
        return "the samples were not taken in their order"
    return None


def _unfinished(
    group: Sequence[Subject], samples: dict[Subject, list[Sample]], failed: Iterable[str], *, before: int
) -> list[Subject]:
    """The blocks that were still to be measured when the round `before` began."""
    excluded = set(failed)
    unfinished = []
    for subject in group:
        earlier = [sample for sample in samples.get(subject, ()) if sample.round_index < before]
        if subject.subject_id not in excluded and not (earlier and is_finished(earlier, PROTOCOL)):
            unfinished.append(subject)
    return unfinished


def _order(plan: Plan, group_index: int, round_index: int, active: Sequence[Subject]) -> list[Subject]:
    return random.Random(f"{plan.seed} {group_index} {round_index}").sample(list(active), len(active))


def _chunk(subjects: Sequence[Subject], runnable: Sequence[Subject], generator: random.Random) -> Chunk:
    """Blocks with the companions they need: others of their group, which the page holds, then those of the sentinel."""
    companions: list[Subject] = []
    if subjects[0].kind == "block":
        num_too_few = PROTOCOL.sentinel_every - len(subjects)
        others = [subject for subject in runnable if subject not in subjects]
        companions = [*generator.sample(others, min(num_too_few, len(others))), *COMPANIONS][:num_too_few]
    return Chunk(subjects=tuple(subjects), companions=tuple(companions))
