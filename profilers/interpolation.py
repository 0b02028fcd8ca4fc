"""A latency for a block that nobody measured, from measured blocks like it; only for those who ask for it.

Among blocks with the same options, time grows like powers of the work and of the bytes that move, so the logarithm of
the latency is close to a plane over the logarithms of both. A local one is laid through the nearest measured blocks,
the nearer the heavier. How far such a guess is off is not promised but measured: every block of the same options is
left out in turn and guessed from the others, and that error goes with each guess, into every interval it is part of.
"""

import dataclasses
import functools
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy

from profilers.agreement import FloatArray
from search_space.counts import activation_bytes, macs, weight_bytes
from search_space.specs import BlockSpec

MIN_NEIGHBOURS = 4  # a plane has three numbers; one more says how well it fits
_MAX_NEIGHBOURS = 16
_MAX_LEFT_OUT = 200  # more change the error's second digit only
_RIDGE = 1e-3  # where all neighbours do the same work, its slope is undetermined


@dataclass(frozen=True, kw_only=True)
class Interpolation:
    """A guess, with what it was guessed from and how wrong such guesses are."""

    latency_ms: float
    """The guess."""
    error_percent: float
    """Root mean square of the leave-one-out relative errors of measured blocks with the same options."""
    num_left_out: int
    """How many measured blocks that error comes from."""
    same_options: bool
    """Whether the neighbours share every option, or only the kind of block."""
    neighbours: tuple[BlockSpec, ...]
    """The measured blocks it was guessed from, nearest first."""


class Interpolator:
    """Guesses latencies from what a device's table holds."""

    def __init__(self, known_ms: Mapping[BlockSpec, float]) -> None:
        """Takes the measured medians in milliseconds."""
        self._specs: dict[Hashable, list[BlockSpec]] = {}
        for spec in known_ms:
            self._specs.setdefault(spec.kind, []).append(spec)
            self._specs.setdefault(_options(spec), []).append(spec)
        self._known_ms = known_ms
        self._pools: dict[Hashable, _Pool] = {}

    def interpolate(self, spec: BlockSpec) -> Interpolation | None:
        """The guess for a block; None where fewer than `MIN_NEIGHBOURS` blocks of its kind were measured."""
        same_options = len(self._specs.get(_options(spec), ())) >= MIN_NEIGHBOURS
        key = _options(spec) if same_options else spec.kind
        if len(self._specs.get(key, ())) < MIN_NEIGHBOURS:
            return None
        pool = self._pool(key)
        log_ms, nearest = pool.predict(_log_work(spec))
        return Interpolation(
            latency_ms=math.exp(log_ms),
            error_percent=100 * pool.relative_error,
            num_left_out=len(pool.left_out),
            same_options=same_options,
            neighbours=tuple(pool.specs[index] for index in nearest),
        )

    def _pool(self, key: Hashable) -> "_Pool":
        if key not in self._pools:
            specs = self._specs[key]
            log_work = numpy.stack([_log_work(spec) for spec in specs])
            log_ms = numpy.log([self._known_ms[spec] for spec in specs])
            self._pools[key] = _Pool(specs=tuple(specs), log_work=log_work, log_ms=log_ms)
        return self._pools[key]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pool:
    """Measured blocks that may stand for one another."""

    specs: tuple[BlockSpec, ...]
    log_work: FloatArray
    """`[num_specs, 2]`."""
    log_ms: FloatArray
    """`[num_specs]`."""

    @property
    def left_out(self) -> range:
        """The blocks that are left out in turn, evenly spread where there are very many."""
        return range(0, len(self.specs), math.ceil(len(self.specs) / _MAX_LEFT_OUT))

    @functools.cached_property
    def relative_error(self) -> float:
        squares = [
            math.expm1(self.predict(self.log_work[index], without=index)[0] - self.log_ms[index]) ** 2
            for index in self.left_out
        ]
        return math.sqrt(sum(squares) / len(squares))

    def predict(self, log_work: FloatArray, *, without: int | None = None) -> tuple[float, list[int]]:
        """The logarithm of the latency at `log_work`, and the indices of the blocks it comes from, nearest first."""
        offsets = self.log_work - log_work  # [num_specs, 2]; the plane's height at zero is the guess
        distances = numpy.linalg.norm(offsets, axis=1)
        if without is not None:
            distances[without] = numpy.inf
        num_neighbours = min(_MAX_NEIGHBOURS, len(self.specs) - (without is not None))
        nearest = numpy.argsort(distances, kind="stable")[:num_neighbours]
        weights = 1 / (distances[nearest] + distances[nearest].mean() + 1e-9)
        weights /= weights.sum()
        design = numpy.column_stack([numpy.ones(num_neighbours), offsets[nearest]])  # [num_neighbours, 3]
        gram = (design.T * weights) @ design + _RIDGE * numpy.diag([0.0, 1.0, 1.0])
        plane = numpy.linalg.solve(gram, (design.T * weights) @ self.log_ms[nearest])
        return float(plane[0]), nearest.tolist()


def _options(spec: BlockSpec) -> Hashable:
    """What has to be equal between neighbours: the kind, every choice between names, every yes or no."""
    values = dataclasses.asdict(spec)
    named = tuple((name, value) for name, value in values.items() if isinstance(value, str | bool))
    return spec.kind, named, values.get("kernel"), values.get("skip_channels", 0) > 0


def _log_work(spec: BlockSpec) -> FloatArray:
    """`[2]`: logarithms of the multiply-accumulates and of the bytes of weights and activations."""
    return numpy.log([macs(spec) + 1, weight_bytes(spec) + activation_bytes(spec)])
