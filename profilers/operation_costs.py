"""What operations cost on one device, learnt from the blocks that were measured there.

    milliseconds = sum over kinds of operation of (macs * a + numbers moved * b + launches * c)

The costs a, b and c of each kind come from non-negative least squares on relative errors. It is a first guess for
blocks of which nothing alike was measured, since all blocks consist of the same few operations:
`profilers.interpolation` starts from it. It is a sum, where the roofline for phones takes the larger of arithmetic and
traffic, because a sum needs no search over rates.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy
from scipy.optimize import nnls

from profilers.agreement import FloatArray
from profilers.roofline.operations import OPERATION_KINDS, operations
from search_space.specs import BlockSpec

_NUM_COLUMNS = 4 * len(OPERATION_KINDS)


def operation_work(specs: Iterable[BlockSpec]) -> FloatArray:
    """`[num_specs, num_columns]`: macs, numbers moved and launches of every kind of operation."""
    rows = []
    for spec in specs:
        row = numpy.zeros((len(OPERATION_KINDS), 4))
        for operation in operations(spec):
            asked = (operation.macs, operation.num_activations, operation.num_weights, operation.num_launches)
            row[OPERATION_KINDS.index(operation.kind)] += asked
        rows.append(row.ravel())
    return numpy.array(rows).reshape(-1, _NUM_COLUMNS)


@dataclass(frozen=True, kw_only=True, eq=False)
class OperationCosts:
    """Milliseconds for a unit of each column of `operation_work`."""

    costs: FloatArray
    """`[num_columns]`, none below zero."""
    floor_ms: float
    """What no block is faster than: a thousandth of the fastest one that was measured."""

    @classmethod
    def fit(cls, work: FloatArray, latency_ms: FloatArray) -> Self:
        """Fits the costs to measured blocks.

        Args:
            work: `[num_specs, num_columns]`, from `operation_work`.
            latency_ms: `[num_specs]`, all above zero.
        """
        units = numpy.maximum(work.max(axis=0), 1.0)  # [num_columns]: columns of like size, or the solver stops early
        costs = nnls(work / units / latency_ms[:, None], numpy.ones(len(latency_ms)))[0] / units
        return cls(costs=costs, floor_ms=float(latency_ms.min()) / 1000)

    def latency_ms(self, work: FloatArray) -> FloatArray:
        """`[num_specs]` for `[num_specs, num_columns]`."""
        return numpy.maximum(work @ self.costs, self.floor_ms)
