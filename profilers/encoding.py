"""Architectures of one space as rows of small integers, thousands at a time.

Every decision of the space has a column, and a number says which of its options was taken; a decision that never came
up is 0. What has to be computed for very many architectures (uniform samples, latencies) then runs in numpy over
columns instead of in Python over networks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy
from numpy.typing import NDArray

from search_space.arch import ArchConfig
from search_space.decisions import All, Choice, Node, Value, decide
from search_space.space import SearchSpace, arch_from_decisions, decisions_of

Codes = NDArray[numpy.int16]
"""`[num_archs, num_decisions]`, one architecture a row."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SpaceEncoding:
    """The columns of one space."""

    space: SearchSpace
    """The space."""
    columns: Mapping[str, int]
    """Decision -> its column."""
    values: Mapping[str, tuple[Value, ...]]
    """Decision -> its options; a code is an index into them."""

    @classmethod
    def of(cls, space: SearchSpace) -> Self:
        values: dict[str, tuple[Value, ...]] = {}
        _collect_values(space.tree, values, seen=set())
        return cls(space=space, columns={name: index for index, name in enumerate(values)}, values=values)

    def encode(self, archs: Sequence[ArchConfig]) -> Codes:
        """The rows of architectures of the space.

        Raises:
            UsageError: One of them is not in the space.
        """
        codes = numpy.zeros((len(archs), len(self.columns)), dtype=numpy.int16)
        for row, arch in zip(codes, archs, strict=True):
            for name, value in decisions_of(arch, self.space).items():
                row[self.columns[name]] = self.values[name].index(value)
        return codes

    def decode(self, row: Codes) -> ArchConfig:
        """The architecture of one row, `[num_decisions]`."""
        decisions = decide(self.space.tree, lambda choice: self.values[choice.name][row[self.columns[choice.name]]])
        return arch_from_decisions(self.space, decisions)

    def sample(self, num_archs: int, *, seed: int) -> Codes:
        """Draws from all architectures of the space with equal probability, repetitions included."""
        codes = numpy.zeros((num_archs, len(self.columns)), dtype=numpy.int16)
        self._sample(self.space.tree, numpy.arange(num_archs), codes, numpy.random.default_rng(seed))
        return codes

    def _sample(self, node: Node, rows: NDArray[numpy.intp], codes: Codes, generator: numpy.random.Generator) -> None:
        """Decides for the rows that reach this node of the tree."""
        match node:
            case All():
                for part in node.parts:
                    self._sample(part, rows, codes, generator)
            case Choice():
                # Each option weighs as much as what lies behind it; as shares, since sizes outgrow 64 bits.
                shares = [option.size / node.size for _, option in node.options]
                drawn = numpy.searchsorted(numpy.cumsum(shares)[:-1], generator.random(len(rows)), side="right")
                for index, (value, option) in enumerate(node.options):
                    chosen = rows[drawn == index]
                    codes[chosen, self.columns[node.name]] = self.values[node.name].index(value)
                    if len(chosen):
                        self._sample(option, chosen, codes, generator)


def _collect_values(node: Node, values: dict[str, tuple[Value, ...]], *, seen: set[int]) -> None:
    """Every decision's options, in the order in which decisions come up; subtrees may be shared."""
    if id(node) in seen:
        return
    seen.add(id(node))
    match node:
        case All():
            for part in node.parts:
                _collect_values(part, values, seen=seen)
        case Choice():
            values.setdefault(node.name, node.values)  # a name stands for the same options wherever it appears
            for _, option in node.options:
                _collect_values(option, values, seen=seen)
