"""The latency of very many architectures at once: look-ups and additions over rows of decisions.

Walking a network costs a few tenths of a millisecond, so a loop over networks ends at a few thousand a second. But what
a block is depends on few decisions, those of its group in `search_space.block_groups`. So a network's latency is a sum
of one number for each group, and each number can be looked up by the options that were taken:

    model = LatencyModel(SpaceEncoding.of(space), blocks)
    model.predict(model.encoding.sample(100_000, seed=0))

A number enters its table when it is first needed, from one whole network that has it, through the same walk as every
other estimate; from then on it costs an addition. `estimate_batch` is for architectures from anywhere, one walk each.
"""

import math
from collections.abc import Sequence

import numpy
from numpy.typing import NDArray

from profilers.agreement import FloatArray
from profilers.encoding import Codes, SpaceEncoding
from profilers.estimating import BlockLatencies
from search_space.arch import ArchConfig
from search_space.block_groups import BlockGroup, block_groups
from search_space.walk import walk


def estimate_batch(archs: Sequence[ArchConfig], blocks: BlockLatencies) -> FloatArray:
    """The latencies of any architectures in milliseconds, `[num_archs]`; equal to `estimate`.

    Raises:
        MissingLatencyError: A block of one of them is not among the known ones.
    """
    latencies_ms = numpy.empty(len(archs))
    for index, arch in enumerate(archs):
        placed = walk(arch)
        try:
            latencies_ms[index] = math.fsum(blocks.known[block.spec].latency_ms for block in placed)
        except KeyError:
            raise blocks.missing_error(placed) from None
    return latencies_ms


class _LookUp:
    """The milliseconds of one group of blocks, by the options that were taken; NaN until they are entered."""

    def __init__(self, group: BlockGroup, encoding: SpaceEncoding) -> None:
        names = [name for name in group.decisions if name in encoding.columns]
        radices = [len(encoding.values[name]) for name in names]
        self._columns = [encoding.columns[name] for name in names]
        self._strides = numpy.cumprod([1, *radices[:-1]], dtype=numpy.int64)
        self._repeats: NDArray[numpy.int64] | None = None
        if group.repeated_by is not None:
            self._repeat_column = encoding.columns[group.repeated_by]
            self._repeats = numpy.array(encoding.values[group.repeated_by], dtype=numpy.int64)
        self.table_ms = numpy.full(math.prod(radices), numpy.nan)

    def places(self, codes: Codes) -> NDArray[numpy.int64]:
        """Where the entries of some rows stand, `[num_archs]`."""
        places: NDArray[numpy.int64] = codes[:, self._columns] @ self._strides
        return places

    def repeats(self, codes: Codes) -> NDArray[numpy.int64]:
        """How often the entry counts in each row, `[num_archs]`."""
        if self._repeats is None:
            return numpy.ones(len(codes), dtype=numpy.int64)
        return self._repeats[codes[:, self._repeat_column]]


class LatencyModel:
    """One device's latency over one space. It grows while it is used; see the module."""

    def __init__(self, encoding: SpaceEncoding, blocks: BlockLatencies) -> None:
        """Takes the columns of a space and the latencies of (at least) the blocks it will be asked for."""
        self.encoding = encoding
        self._blocks = blocks
        self._groups = block_groups(len(encoding.space.stages))
        self._look_ups = [_LookUp(group, encoding) for group in self._groups]
        self._group_of_name: dict[str, int] = {}

    def predict(self, codes: Codes) -> FloatArray:
        """The latencies of rows of decisions in milliseconds, `[num_archs]`; equal to `estimate`.

        Raises:
            MissingLatencyError: A block of one of them is not among the known ones.
        """
        latencies_ms = numpy.zeros(len(codes))
        for look_up in self._look_ups:
            places = look_up.places(codes)
            unknown = numpy.flatnonzero(numpy.isnan(look_up.table_ms[places]))
            for row in unknown[numpy.unique(places[unknown], return_index=True)[1]]:
                self._enter(codes[row])
            latencies_ms += look_up.repeats(codes) * look_up.table_ms[places]
        return latencies_ms

    def _enter(self, row: Codes) -> None:
        """Enters what one network has of every group."""
        arch = self.encoding.decode(row)
        sums_ms = [0.0] * len(self._groups)
        for block in walk(arch):
            if block.spec not in self._blocks.known:
                raise self._blocks.missing_error(walk(arch))
            sums_ms[self._group_of(block.name)] += self._blocks.known[block.spec].latency_ms
        for look_up, sum_ms in zip(self._look_ups, sums_ms, strict=True):
            place = look_up.places(row[None])
            look_up.table_ms[place] = sum_ms / look_up.repeats(row[None])

    def _group_of(self, block_name: str) -> int:
        if block_name not in self._group_of_name:
            belongs = (index for index, group in enumerate(self._groups) if block_name.startswith(group.prefixes))
            self._group_of_name[block_name] = next(belongs, len(self._groups) - 1)
        return self._group_of_name[block_name]
