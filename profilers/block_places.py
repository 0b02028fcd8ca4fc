"""Blocks as points, so that it can be said how alike two of them are and which few stand for many.

Two blocks are as far apart as the logarithms of their work (multiply-accumulates, and bytes that move), and one more
for every option in which they differ: an option counts as much as 2.7 times the work.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy

from profilers.agreement import FloatArray, IntArray
from search_space.counts import activation_bytes, macs, weight_bytes
from search_space.specs import BlockSpec

FEW_OF_A_KIND = 4
"""So many have to be known before another one of the kind can be guessed: a plane has three numbers."""
_NO_SUCH_OPTION, _UNKNOWN_VALUE = -1, -2


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """Where one block stands among the blocks of a `BlockPlaces`."""

    log_work: FloatArray
    """`[2]`: logarithms of the multiply-accumulates and of the bytes of weights and activations."""
    options: IntArray
    """`[num_options]`: a number for each value of each option."""


class BlockPlaces:
    """The places of some blocks."""

    def __init__(self, specs: Sequence[BlockSpec]) -> None:
        all_options = [_options(spec) for spec in specs]
        self._numbers: dict[str, dict[object, int]] = {}
        for options in all_options:
            for name, value in options.items():
                values = self._numbers.setdefault(name, {})
                values.setdefault(value, len(values))
        places = [self.place(spec) for spec in specs]
        self.log_work = numpy.array([place.log_work for place in places]).reshape(-1, 2)
        """`[num_specs, 2]`, as in `Place`."""
        self.options = numpy.array([place.options for place in places]).reshape(len(specs), len(self._numbers))
        """`[num_specs, num_options]`, as in `Place`."""

    def place(self, spec: BlockSpec) -> Place:
        """Where a block stands, whether or not it is one of these."""
        options = _options(spec)
        numbers = [
            values.get(options[name], _UNKNOWN_VALUE) if name in options else _NO_SUCH_OPTION
            for name, values in self._numbers.items()
        ]
        work = (macs(spec) + 1, weight_bytes(spec) + activation_bytes(spec))
        return Place(log_work=numpy.log(work), options=numpy.array(numbers))

    def __getitem__(self, index: int) -> Place:
        return Place(log_work=self.log_work[index], options=self.options[index])

    def num_differing(self, place: Place) -> IntArray:
        """`[num_specs]`: in how many options each block differs from `place`."""
        differing: IntArray = (self.options != place.options).sum(axis=1)
        return differing

    def distances(self, place: Place) -> FloatArray:
        """`[num_specs]`: from each block to `place`."""
        distances: FloatArray = numpy.linalg.norm(self.log_work - place.log_work, axis=1) + self.num_differing(place)
        return distances


def telling_order(specs: Sequence[BlockSpec], *, known: Sequence[BlockSpec] = ()) -> Iterator[BlockSpec]:
    """Orders blocks so that the first few, however many, say most of all others.

    First come a few of every kind, without which none of the kind can be guessed; from then on the next one is always
    farthest from all before it. What is not taken from the iterator is not computed.

    Args:
        specs: The blocks to order.
        known: Blocks that are known already.
    """
    places = BlockPlaces([*known, *specs])
    kinds = numpy.array([spec.kind for spec in (*known, *specs)])
    is_left = numpy.arange(len(kinds)) >= len(known)
    gaps = numpy.full(len(kinds), numpy.inf)  # from each block to the nearest one that is taken
    for index in range(len(known)):
        gaps = numpy.minimum(gaps, places.distances(places[index]))
    for _ in specs:
        rarest, num_taken = min(
            ((kind, int((kinds[~is_left] == kind).sum())) for kind in dict.fromkeys(kinds[is_left])),
            key=lambda pair: pair[1],
        )
        candidates = is_left & (kinds == rarest) if num_taken < FEW_OF_A_KIND else is_left
        farthest = int(numpy.where(candidates, gaps, -1.0).argmax())
        yield specs[farthest - len(known)]
        is_left[farthest] = False
        gaps = numpy.minimum(gaps, places.distances(places[farthest]))


def _options(spec: BlockSpec) -> Mapping[str, object]:
    """Every choice between names, every yes or no, the kernel, and whether there is a skip."""
    fields = vars(spec)
    options = {name: value for name, value in fields.items() if isinstance(value, str | bool) or name == "kernel"}
    if "skip_channels" in fields:
        options["has_skip"] = fields["skip_channels"] > 0
    return {"kind": spec.kind, **options}
