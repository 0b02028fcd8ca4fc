"""The latency of very many architectures at once: look-ups and additions over rows of decisions.

Walking a network costs a few tenths of a millisecond, so a loop over networks ends at a few thousand a second. But what
a block is depends on few decisions: a residual block on the widths of its stage and its neighbours, on numbers of
blocks and on the convolution; a transformer on its path and on what its stage shares. So a network's latency is a sum
of one number for each of these groups of decisions, and each number can be looked up by the options that were taken:

    model = LatencyModel(SpaceEncoding.of(space), blocks)
    model.predict(model.encoding.sample(100_000, seed=0))

A number enters its table when it is first needed, from one whole network that has it, through the same walk as every
other estimate; from then on it costs an addition. `estimate_batch` is for architectures from anywhere, one walk each.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from profilers.agreement import FloatArray
from profilers.encoding import Codes, SpaceEncoding
from profilers.estimating import BlockLatencies
from search_space.arch import ArchConfig
from search_space.space import SearchSpace
from search_space.specs import BlockSpec
from search_space.walk import walk

_SHARED = ("head_dim", "kv_sharing", "qk_norm", "rope", "norm_replacement", "feed_forward", "feed_forward_expansion")
_CONVOLUTION = ("convolution", "full_kernel", "separable_kernel", "separable_expansion", "hidden_width")


def estimate_batch(archs: Sequence[ArchConfig], blocks: BlockLatencies) -> FloatArray:
    """The latencies of any architectures, `[num_archs]`, as counts of blocks times their latencies.

    Raises:
        MissingLatencyError: A block of one of them is not among the known ones.
    """
    columns: dict[BlockSpec, int] = {}
    rows, indices = [], []
    for row, arch in enumerate(archs):
        for block in walk(arch):
            if block.spec not in blocks.known:
                raise blocks.missing_error(arch)
            rows.append(row)
            indices.append(columns.setdefault(block.spec, len(columns)))
    counts = numpy.zeros((len(archs), len(columns)))
    numpy.add.at(counts, (rows, indices), 1)
    latencies_ms: FloatArray = counts @ numpy.array([blocks.known[spec].latency_ms for spec in columns])
    return latencies_ms


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Blocks that the same decisions decide."""

    prefixes: tuple[str, ...]
    """How the names of these blocks begin; empty for the blocks that belong to no other group."""
    decisions: tuple[str, ...]
    """What decides them."""


class LatencyModel:
    """One device's latency over one space. It grows while it is used; see the module."""

    def __init__(self, encoding: SpaceEncoding, blocks: BlockLatencies) -> None:
        """Takes the columns of a space and the latencies of (at least) the blocks it will be asked for."""
        self.encoding = encoding
        self._blocks = blocks
        self._groups = tuple(_groups(encoding.space))
        self._columns: list[list[int]] = []
        self._strides: list[NDArray[numpy.int64]] = []
        self._tables: list[FloatArray] = []
        for group in self._groups:
            names = [name for name in group.decisions if name in encoding.columns]
            radices = [len(encoding.values[name]) for name in names]
            self._columns.append([encoding.columns[name] for name in names])
            self._strides.append(numpy.cumprod([1, *radices[:-1]], dtype=numpy.int64))
            self._tables.append(numpy.full(int(numpy.prod(radices, dtype=numpy.int64)), numpy.nan))

    def predict(self, codes: Codes) -> FloatArray:
        """The latencies of rows of decisions in milliseconds, `[num_archs]`; equal to `estimate`.

        Raises:
            MissingLatencyError: A block of one of them is not among the known ones.
        """
        indices = [codes[:, columns] @ strides for columns, strides in zip(self._columns, self._strides, strict=True)]
        for group, (table, index) in enumerate(zip(self._tables, indices, strict=True)):
            unknown = numpy.flatnonzero(numpy.isnan(table[index]))
            for row in unknown[numpy.unique(index[unknown], return_index=True)[1]]:
                if numpy.isnan(table[index[row]]):
                    self._fill(codes[row], [int(index[row]) for index in indices])
            assert not numpy.isnan(table[index]).any(), group
        latencies_ms = numpy.zeros(len(codes))
        for table, index in zip(self._tables, indices, strict=True):
            latencies_ms += table[index]
        return latencies_ms

    def _fill(self, row: Codes, indices: Sequence[int]) -> None:
        """Enters what one network has of every group."""
        arch = self.encoding.decode(row)
        sums_ms = [0.0] * len(self._groups)
        for block, latency_ms in zip(walk(arch), self._latencies_ms(arch), strict=True):
            sums_ms[self._group_of(block.name)] += latency_ms
        for table, index, sum_ms in zip(self._tables, indices, sums_ms, strict=True):
            table[index] = sum_ms

    def _latencies_ms(self, arch: ArchConfig) -> Iterable[float]:
        return (latency_ms for _, latency_ms in self._blocks.medians(arch))

    def _group_of(self, block_name: str) -> int:
        belongs = (index for index, group in enumerate(self._groups) if block_name.startswith(group.prefixes))
        return next(belongs, len(self._groups) - 1)


def _groups(space: SearchSpace) -> Iterator[_Group]:
    """The groups of blocks of a space; the last takes what is left: the first and last layers and the embeddings."""
    last = len(space.stages) - 1
    for index in range(len(space.stages)):
        stage, down, up = f"stage{index}", f"down_blocks.{index}", f"up_blocks.{last - index}"
        near = [f"stage{other}.channels" for other in (index - 1, index, index + 1)]
        blocks = [f"{stage}.down_blocks", f"{stage}.up_blocks"]
        shared = [f"{stage}.{name}" for name in _SHARED]
        around = ["interface", "projection", f"{stage}.channels"]
        mid = ["mid.layout"] if index == last else []
        yield _Group(
            prefixes=(f"{down}.resnets", f"{up}.resnets", *(["mid_block.resnets"] if mid else [])),
            decisions=("time_embedding_width", *near, *blocks, *mid, *(f"{stage}.{name}" for name in _CONVOLUTION)),
        )
        for way, name in (("down", down), ("up", up)):
            yield _Group(
                prefixes=(f"{name}.attentions",),
                decisions=(
                    *around,
                    f"{stage}.{way}_blocks",
                    f"{stage}.{way}_depth",
                    f"{stage}.{way}_attention",
                    *shared,
                ),
            )
        if mid:
            yield _Group(prefixes=("mid_block.attentions",), decisions=(*around, *mid, *shared))
        yield _Group(
            prefixes=(f"{down}.downsamplers", f"{up}.upsamplers"),
            decisions=(f"{stage}.channels", "downsampler", "upsampler"),
        )
    yield _Group(prefixes=(), decisions=("interface", "time_embedding_width", "stage0.channels"))
