"""Rows of the latency table that ask for a second look, found without knowing the device.

    falling    a block takes less time than one that differs in one width, size or depth and has less to do
    unequal    two blocks of one kind with the same counted work take different times
    two modes  a block's samples stand in two heaps

None of these has to be a mistake: a kernel that is tuned for 64 channels makes 48 channels slower, and rotating
positions cost time that no multiply-accumulate counts. But a search believes every row, so a person should have seen
the strange ones. Differences count only beyond both 95 % intervals and beyond the thresholds below.
"""

import dataclasses
import itertools
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from profilers.device import Device
from profilers.latency_table import LatencyTable
from profilers.measurement import measurement_of
from profilers.modes import two_modes
from profilers.subject import Subject
from search_space.counts import count_block
from search_space.specs import BlockSpec, ResidualSpec, TransformerSpec

MIN_FALL = 0.03
MIN_INEQUALITY = 0.15

_COST_RAISING: dict[str, tuple[str, ...]] = {
    "conv": ("in_channels", "out_channels", "size", "kernel"),
    "time_embedding": ("in_width", "out_width"),
    "added_embedding": ("pooled_text_width", "num_size_ids", "size_id_width", "out_width"),
    "context_projection": ("in_width", "out_width", "length"),
    "residual": ("in_channels", "hidden_channels", "out_channels", "size", "time_width", "kernel"),
    "transformer": (
        "size",
        "depth",
        "num_kv_heads",
        "hidden_channels",
        "self_attention",
        "context_width",
        "context_length",
    ),
    "downsample": ("channels", "size"),
    "upsample": ("channels", "size"),
    "norm_out": ("channels", "size"),
}
"""Of every kind of block, the fields that can only add work while all others stay as they are."""

AnomalyKind = Literal["falling", "unequal", "two modes"]


@dataclass(frozen=True, kw_only=True)
class MeasuredBlock:
    """One finished row of a block."""

    spec: BlockSpec
    """The block."""
    median_ms: float
    """Its latency."""
    low_ms: float
    """The lower end of the 95 % interval."""
    high_ms: float
    """The upper end of the 95 % interval."""
    samples_ms: tuple[float, ...]
    """Its samples, drift divided out."""


@dataclass(frozen=True, kw_only=True)
class Anomaly:
    """One finding."""

    kind: AnomalyKind
    """Which of the three checks found it."""
    blocks: tuple[MeasuredBlock, ...]
    """The rows it is about; falling: the smaller block, then the larger; unequal: the fastest first."""
    ratio: float
    """By how much the slower is slower than the faster; above 1."""
    explanation: str
    """What differs, and what does not, in a few words."""


def measured_blocks(specs: Sequence[BlockSpec], table: LatencyTable, device: Device) -> tuple[MeasuredBlock, ...]:
    """The finished rows of the blocks, with their samples."""
    subjects = {Subject.of_block(spec): spec for spec in specs}
    records = table.records(device, subjects)
    finished = [subject for subject, record in records.items() if record.has_latency]
    samples = table.samples(device, finished)
    return tuple(
        MeasuredBlock(
            spec=subjects[subject],
            median_ms=records[subject].median_ms,
            low_ms=records[subject].low_ms,
            high_ms=records[subject].high_ms,
            samples_ms=measurement_of(samples[subject]).samples_ms,
        )
        for subject in finished
    )


def find_anomalies(blocks: Sequence[MeasuredBlock]) -> tuple[Anomaly, ...]:
    """Every finding, the three checks one after another, the largest difference first."""
    checks = (_falling(blocks), _unequal(blocks), _with_two_modes(blocks))
    return tuple(
        anomaly for found in checks for anomaly in sorted(found, key=lambda anomaly: anomaly.ratio, reverse=True)
    )


def _falling(blocks: Sequence[MeasuredBlock]) -> Iterator[Anomaly]:
    families: dict[Hashable, list[tuple[int, str, MeasuredBlock]]] = {}
    for block in blocks:
        for name, value, everything_else in _single_numbers(block.spec):
            families.setdefault((name, everything_else), []).append((value, name, block))
    for family in families.values():
        family.sort(key=lambda item: item[0])
        for (small_value, name, small), (large_value, _, large) in itertools.combinations(family, 2):
            ratio = small.median_ms / large.median_ms
            has_fallen = large.high_ms < small.low_ms and large.median_ms < (1 - MIN_FALL) * small.median_ms
            if has_fallen and _has_more_to_do(large.spec, small.spec):
                change = f"{name} {small_value} -> {large_value}, all else equal"
                yield Anomaly(kind="falling", blocks=(small, large), ratio=ratio, explanation=change)


def _single_numbers(spec: BlockSpec) -> Iterator[tuple[str, int, Hashable]]:
    """Every number that can grow, alone or with what follows from it: its name, its value, all that stays equal."""
    fields = dataclasses.asdict(spec)
    for name in _COST_RAISING[spec.kind]:
        others = tuple(value for other, value in fields.items() if other != name)
        yield name, fields[name], (spec.kind, others)
    if isinstance(spec, TransformerSpec):  # its channels only grow together with its heads and its hidden channels
        together = ("channels", "num_heads", "num_kv_heads", "hidden_channels")
        others = tuple(value for other, value in fields.items() if other not in together)
        sharing = "one" if spec.num_kv_heads == 1 else spec.num_heads / spec.num_kv_heads
        yield "channels", spec.channels, (others, spec.head_dim, sharing, spec.hidden_channels / spec.channels)
    if isinstance(spec, ResidualSpec):  # of a full convolution the width out is also the hidden one
        others = tuple(value for other, value in fields.items() if other not in ("out_channels", "hidden_channels"))
        yield "out_channels", spec.out_channels, (spec.kind, others, spec.hidden_channels / spec.out_channels)


def _has_more_to_do(large: BlockSpec, small: BlockSpec) -> bool:
    """Whether nothing that is counted falls and something rises. A shortcut that falls away can turn this around."""
    more, less = dataclasses.astuple(count_block(large)), dataclasses.astuple(count_block(small))
    return more != less and all(a >= b for a, b in zip(more, less, strict=True))


def _unequal(blocks: Sequence[MeasuredBlock]) -> Iterator[Anomaly]:
    equals: dict[Hashable, list[MeasuredBlock]] = {}
    for block in blocks:
        counts = count_block(block.spec)
        work = (block.spec.kind, counts.macs, counts.weight_bytes, counts.activation_bytes)
        equals.setdefault(work, []).append(block)
    for group in equals.values():
        group.sort(key=lambda block: block.median_ms)
        fastest, slowest = group[0], group[-1]
        ratio = slowest.median_ms / fastest.median_ms
        if slowest.low_ms > fastest.high_ms and ratio > 1 + MIN_INEQUALITY:
            explanation = (
                f"{len(group)} blocks with equal counts, differing in {_differences(fastest.spec, slowest.spec)}"
            )
            yield Anomaly(kind="unequal", blocks=tuple(group), ratio=ratio, explanation=explanation)


def _differences(first: BlockSpec, second: BlockSpec) -> str:
    fields, others = dataclasses.asdict(first), dataclasses.asdict(second)
    return ", ".join(name for name in fields if fields[name] != others[name])


def _with_two_modes(blocks: Sequence[MeasuredBlock]) -> Iterator[Anomaly]:
    for block in blocks:
        modes = two_modes(block.samples_ms)
        if modes is not None:
            explanation = (
                f"{modes.num_low} samples at {modes.low_ms:.4g} ms, {modes.num_high} at {modes.high_ms:.4g} ms"
            )
            ratio = modes.high_ms / modes.low_ms
            yield Anomaly(kind="two modes", blocks=(block,), ratio=ratio, explanation=explanation)
