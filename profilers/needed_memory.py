"""How much memory a subject needs: what cannot fit is known before it is tried.

A process that the kernel kills for lack of memory takes everything with it that was loaded; a machine that swaps
measures its disk. So a subject that needs more than is free becomes a row that says `does_not_fit`, with the numbers.
"""

from collections.abc import Iterator, Sequence

from profilers.bundling.run_bundle import groups
from profilers.memory import Footprint
from profilers.subject import Subject
from search_space.arch_json import arch_from_json
from search_space.counts import Counts, count, count_block
from search_space.specs import spec_from_key

ACTIVATION_COPIES = 8
"""A block's intermediate tensors are several times what enters and leaves it."""
SCORE_COPIES = 2
"""Scores become weights in place; but ONNX Runtime's arena, which no longer fits after the first run, grew to two."""
FIXED_BYTES = 64 * 2**20
"""The runtime itself."""
_MIB = 2**20


def counts_of(subject: Subject, *, bytes_per_number: int = 4) -> Counts:
    match subject.kind:
        case "block":
            return count_block(spec_from_key(subject.text), bytes_per_number=bytes_per_number)
        case "network":
            return count(arch_from_json(subject.text), bytes_per_number=bytes_per_number)


def needed_bytes(subject: Subject, footprint: Footprint) -> int:
    """What loading and running the subject takes, a generous guess from its counts."""
    counts = counts_of(subject, bytes_per_number=footprint.bytes_per_number)
    score_bytes = SCORE_COPIES * counts.score_bytes if footprint.writes_scores else 0
    weight_bytes = footprint.weight_copies * counts.weight_bytes
    return weight_bytes + ACTIVATION_COPIES * counts.activation_bytes + score_bytes + FIXED_BYTES


def reason_not_to_fit(subject: Subject, free_bytes: int | None, footprint: Footprint) -> str | None:
    """Why the subject cannot be loaded, in numbers; None if it can."""
    if free_bytes is None or needed_bytes(subject, footprint) <= free_bytes:
        return None
    counts = counts_of(subject, bytes_per_number=footprint.bytes_per_number)
    reason = (
        f"needs about {needed_bytes(subject, footprint) / _MIB:.0f} MiB, {free_bytes / _MIB:.0f} MiB are free: "
        f"{footprint.weight_copies} x {counts.weight_bytes / _MIB:.0f} MiB of weights, "
        f"{ACTIVATION_COPIES} x {counts.activation_bytes / _MIB:.0f} MiB of activations"
    )
    if footprint.writes_scores and counts.score_bytes:
        reason += f", {SCORE_COPIES} x {counts.score_bytes / _MIB:.0f} MiB of attention's scores"
    return reason


def portions(subjects: Sequence[Subject], max_bytes: int) -> Iterator[list[Subject]]:
    """The subjects in portions whose weights are no more than so many bytes together."""
    return groups(((subject, counts_of(subject).weight_bytes) for subject in subjects), max_bytes)
