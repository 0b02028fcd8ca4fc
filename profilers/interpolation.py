"""A latency for a block that nobody measured, from measured blocks like it; only for those who ask for it.

The costs of the operations (`profilers.operation_costs`) make a first guess of every block. By what factor it is wrong
is much the same for blocks that are alike, so that factor is interpolated: a plane over the logarithms of the work is
laid through the factors of the nearest measured blocks of the kind, the nearer the heavier. How far such a guess is off
is not promised but measured: blocks of the kind are left out in turn, each together with all that are nearer to it than
the nearest measured block is to the guessed one. That error goes with each guess, into every interval it is part of.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy

from profilers.agreement import FloatArray, IntArray
from profilers.block_places import FEW_OF_A_KIND, BlockPlaces, Place
from profilers.operation_costs import OperationCosts, operation_work
from search_space.progress import progress
from search_space.specs import BlockSpec

_MAX_NEIGHBOURS = 8
_MAX_LEFT_OUT = 100  # more change the error's second digit only
_RIDGE = 0.1  # of the plane's slopes: the factor is nearly the same everywhere
_DISTANCE_STEP = 0.25  # errors are computed once for all guesses whose nearest block is about as far
_MANY_GUESSES = 1000  # which take a second or more


@dataclass(frozen=True, kw_only=True)
class Interpolation:
    """A guess, with what it was guessed from and how wrong such guesses are."""

    latency_ms: float
    """The guess."""
    error_percent: float
    """By what factor such guesses are wrong, above 1: the exponential of the root mean square of the logarithms, over
    measured blocks of the kind that were left out and guessed from as far."""
    num_left_out: int
    """How many measured blocks that error comes from."""
    num_differing_options: int
    """In how many options the nearest measured block differs."""
    neighbours: tuple[BlockSpec, ...]
    """The measured blocks it was guessed from, nearest first."""


class Interpolator:
    """Guesses latencies from what a device's table holds."""

    def __init__(self, known_ms: Mapping[BlockSpec, float]) -> None:
        """Takes the measured medians in milliseconds."""
        self._specs = tuple(known_ms)
        self._places = BlockPlaces(self._specs)
        self._work = operation_work(self._specs)  # [num_specs, num_columns]
        self._latency_ms = numpy.array(list(known_ms.values()))  # [num_specs]
        self._of_kind: dict[str, IntArray] = {
            kind: numpy.flatnonzero([spec.kind == kind for spec in self._specs])
            for kind in {spec.kind for spec in self._specs}
        }
        self._without: dict[int | None, _Factors] = {}
        self._errors: dict[tuple[str, int], tuple[float, int]] = {}

    def interpolate(self, spec: BlockSpec) -> Interpolation | None:
        """The guess for a block; None where fewer than `FEW_OF_A_KIND` blocks of its kind were measured."""
        of_kind = self._of_kind.get(spec.kind, numpy.array([], dtype=int))
        if len(of_kind) < FEW_OF_A_KIND:
            return None
        place = self._places.place(spec)
        distances = self._places.distances(place)
        nearest = _nearest(distances, of_kind)
        error, num_left_out = self._error(spec.kind, int(distances[nearest[0]] / _DISTANCE_STEP))
        return Interpolation(
            latency_ms=self._guess_ms(place, operation_work([spec]), distances, nearest),
            error_percent=100 * error,
            num_left_out=num_left_out,
            num_differing_options=int(self._places.num_differing(place)[nearest[0]]),
            neighbours=tuple(self._specs[index] for index in nearest),
        )

    def interpolate_all(self, specs: Collection[BlockSpec]) -> dict[BlockSpec, Interpolation]:
        """The guesses for as many of the blocks as there are measured ones like them; of thousands with a bar."""
        if len(specs) < _MANY_GUESSES:
            guesses = {spec: self.interpolate(spec) for spec in specs}
        else:
            guesses = {}
            with progress("guessing what was not measured", total=len(specs), unit="block") as bar:
                for spec in specs:
                    guesses[spec] = self.interpolate(spec)
                    bar.advance()
        return {spec: guess for spec, guess in guesses.items() if guess is not None}

    def _guess_ms(
        self,
        place: Place,
        work: FloatArray,
        distances: FloatArray,
        nearest: IntArray,
        *,
        without: int | None = None,
    ) -> float:
        """The guess from the nearest blocks, for `work` of one block; no cost was fitted on the block `without`."""
        factors = self._factors(without)
        weights = 1 / (distances[nearest] + distances[nearest].mean() + 1e-9)
        weights /= weights.sum()
        offsets = self._places.log_work[nearest] - place.log_work  # [num_nearest, 2]; the plane's height at zero counts
        design = numpy.column_stack([numpy.ones(len(nearest)), offsets])  # [num_nearest, 3]
        gram = (design.T * weights) @ design + _RIDGE * numpy.diag([0.0, 1.0, 1.0])
        plane = numpy.linalg.solve(gram, (design.T * weights) @ factors.log_factors[nearest])
        return math.exp(plane[0]) * float(factors.costs.latency_ms(work)[0])

    def _factors(self, without: int | None) -> "_Factors":
        if without not in self._without:
            chosen = numpy.arange(len(self._specs)) != (-1 if without is None else without)
            costs = OperationCosts.fit(self._work[chosen], self._latency_ms[chosen])
            log_factors = numpy.log(self._latency_ms / costs.latency_ms(self._work))
            self._without[without] = _Factors(costs=costs, log_factors=log_factors)
        return self._without[without]

    def _error(self, kind: str, num_steps: int) -> tuple[float, int]:
        """By what factor, above 1, guesses from so many steps away are wrong, and how many blocks were left out."""
        if (kind, num_steps) not in self._errors:
            of_kind = self._of_kind[kind]
            left_out = of_kind[:: math.ceil(len(of_kind) / _MAX_LEFT_OUT)]
            found = (self._left_out_error(index, of_kind, num_steps) for index in left_out)
            errors = [error for error in found if error is not None]
            self._errors[kind, num_steps] = (
                (math.expm1(math.sqrt(numpy.mean(numpy.square(errors)))), len(errors))
                if len(errors) >= FEW_OF_A_KIND
                else self._error(kind, num_steps - 1)  # too few blocks are as far apart: nearer ones have to do
            )
        return self._errors[kind, num_steps]

    def _left_out_error(self, index: int, of_kind: IntArray, num_steps: int) -> float | None:
        """Logarithm of guessed over measured at a block without it and all that are nearer; None if none are left."""
        place = self._places[index]
        distances = self._places.distances(place)
        others = of_kind[(of_kind != index) & (distances[of_kind] >= num_steps * _DISTANCE_STEP)]
        if not len(others):
            return None
        nearest = _nearest(distances, others)
        guess_ms = self._guess_ms(place, self._work[index][None], distances, nearest, without=index)
        return math.log(guess_ms / float(self._latency_ms[index]))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Factors:
    """The costs of operations, and by what factor they are wrong."""

    costs: OperationCosts
    log_factors: FloatArray
    """`[num_specs]`: logarithms of measured over guessed, of every measured block."""


def _nearest(distances: FloatArray, indices: IntArray) -> IntArray:
    """Those of the blocks at `indices` that are nearest, nearest first."""
    nearest: IntArray = indices[numpy.argsort(distances[indices], kind="stable")[:_MAX_NEIGHBOURS]]
    return nearest
