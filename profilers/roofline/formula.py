"""The roofline: every operation takes as long as its arithmetic or its traffic, whichever is longer, and a launch.

    milliseconds = sum over the operations of max(macs / rate of its kind, bytes / bandwidth) + launches * launch time

It knows nothing of fusion, on-chip memory or what a compiler hands to another unit; the rates are what is left of all
that on average over the networks they were fitted on.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from profilers.roofline.operations import OPERATION_KINDS, Operation, operations
from search_space.specs import BlockSpec

BYTES_PER_ACTIVATION = 2  # float16 on every chip here
DEFAULT_WEIGHT_BITS = 16


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How fast the reference chip is; every other one is faster or slower by one factor."""

    full_convolution: float
    """Multiply-accumulates a second, in billions."""
    depthwise_convolution: float
    """Multiply-accumulates a second, in billions."""
    linear: float
    """Multiply-accumulates a second, in billions."""
    attention: float
    """Multiply-accumulates a second, in billions."""
    bandwidth: float
    """Billions of bytes a second."""
    launch_us: float
    """Microseconds to start an operation."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What blocks ask of a chip: one column for each distinct operation."""

    kinds: NDArray[numpy.int64]
    """Index into `OPERATION_KINDS`: [N]."""
    gigamacs: NDArray[numpy.float64]
    """Billions of multiply-accumulates: [N]."""
    gigabytes: NDArray[numpy.float64]
    """Billions of bytes read and written: [N]."""
    num_launches: NDArray[numpy.float64]
    """How often the chip starts something: [N]."""
    counts: NDArray[numpy.float64]
    """How often the operation occurs: [N]."""


def work_of(specs: Iterable[BlockSpec], *, batch_size: int = 1, weight_bits: float = DEFAULT_WEIGHT_BITS) -> Work:
    """The work of blocks that run one after another.

    Args:
        specs: The blocks; equal ones may repeat.
        batch_size: Images at once.
        weight_bits: Bits of a weight in memory; 6 for weights in a palette of 64 values.
    """
    counts = Counter(operation for spec in specs for operation in operations(spec))

    def size_bytes(operation: Operation) -> float:
        activations = BYTES_PER_ACTIVATION * batch_size * operation.num_activations
        return activations + weight_bits / 8 * operation.num_weights

    return Work(
        kinds=numpy.array([OPERATION_KINDS.index(operation.kind) for operation in counts]),
        gigamacs=numpy.array([batch_size * operation.macs / 1e9 for operation in counts]),
        gigabytes=numpy.array([size_bytes(operation) / 1e9 for operation in counts]),
        num_launches=numpy.array([float(operation.num_launches) for operation in counts]),
        counts=numpy.array([float(count) for count in counts.values()]),
    )


def latency_ms(work: Work, rates: Rates) -> float:
    """Milliseconds of the work on the reference chip."""
    elementwise = 1.0  # multiplies nothing
    by_kind = numpy.array(
        [rates.full_convolution, rates.depthwise_convolution, rates.linear, rates.attention, elementwise]
    )
    busy_s = numpy.maximum(work.gigamacs / by_kind[work.kinds], work.gigabytes / rates.bandwidth)  # [N]
    started_s = work.num_launches * rates.launch_us / 1e6  # [N]
    return 1000 * float(((busy_s + started_s) * work.counts).sum())
