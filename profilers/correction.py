"""What the sum of a network's blocks gets wrong, learnt from whole networks that were measured.

A block alone in a loop finds its weights in the cache and its inputs in the layout it likes; inside a network it does
not, and how much that costs depends on the kind of block. So a corrected network is

    latency = sum over groups of (scale of the group) * (medians of its blocks) + (overhead) * (number of blocks)

with no scale below zero. The overhead is below zero where a block that is timed alone pays for something that it does
not pay for inside a network: the call into the runtime, inputs that nobody has just written. All this holds for
networks of the search space that it was learnt from: larger or smaller blocks have other shares of it.

`profilers.correction_fit` finds the coefficients; this file only says what they are and applies them, so it is light. A
correction never travels without the figures of how well it predicted networks that it had not seen.
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Self, assert_never, get_args

import numpy

from profilers.agreement import Agreement, FloatArray
from search_space.specs import (
    AddedEmbeddingSpec,
    BlockSpec,
    ContextProjectionSpec,
    ConvSpec,
    DownsampleSpec,
    NormOutSpec,
    ResidualSpec,
    TimeEmbeddingSpec,
    TransformerSpec,
    UpsampleSpec,
)

ScaleGroup = Literal[
    "full residual", "separable residual", "self-attention", "cross-attention", "resampling", "everything else"
]
"""Blocks that share a scale: few enough for thirty networks, cut where runtimes treat blocks differently."""

GROUPS: tuple[ScaleGroup, ...] = get_args(ScaleGroup)


def scale_group(spec: BlockSpec) -> ScaleGroup:
    """The group whose scale applies to a block."""
    match spec:
        case ResidualSpec():
            return "full residual" if spec.convolution == "full" else "separable residual"
        case TransformerSpec():
            return "self-attention" if spec.self_attention else "cross-attention"
        case DownsampleSpec() | UpsampleSpec():
            return "resampling"
        case ConvSpec() | TimeEmbeddingSpec() | AddedEmbeddingSpec() | ContextProjectionSpec() | NormOutSpec():
            return "everything else"
        case _:
            assert_never(spec)


def network_features(blocks: Iterable[tuple[BlockSpec, float]]) -> FloatArray:
    """What a correction sees of a network: `[num_groups + 1]`, milliseconds by group and the number of blocks.

    Args:
        blocks: Every block of the network with its measured median in milliseconds.
    """
    features = numpy.zeros(len(GROUPS) + 1)
    for spec, median_ms in blocks:
        features[GROUPS.index(scale_group(spec))] += median_ms
        features[-1] += 1
    return features


@dataclass(frozen=True, kw_only=True)
class Correction:
    """The coefficients, what they were fitted on, and how well they predicted other networks."""

    scales: Mapping[ScaleGroup, float]
    """Factor on the measured median of a block, by the block's group."""
    overhead_ms: float
    """Added for every block; below zero, what each block pays only when it is timed alone."""
    ridge: float
    """Strength of the pull towards one common scale that leave-one-out chose."""
    relative_half_width: float
    """Half the 95 % interval of a network it has not seen, as a share of the network's latency."""
    block_half_width: float
    """The part of it that the judges' blocks, not known any better, explain by themselves."""
    num_networks: int
    """How many whole networks it was fitted on."""
    space: str
    """The search space that they came from; of no other networks does it say anything."""
    num_guessed: int
    """How many of their distinct blocks were guessed when it was fitted."""
    judged_on: Literal["leave-one-out", "unseen networks"]
    """Whether the networks that judge it were each left out of a fit in turn, or never part of any."""
    num_judges: int
    """How many networks judge it."""
    judged: Agreement
    """How its predictions of those networks agree with what was measured."""
    uncorrected: Agreement
    """How plain sums agree with the same networks."""
    fitted_at: str
    """UTC, ISO 8601."""

    def corrected_ms(self, spec: BlockSpec, median_ms: float) -> float:
        """A block's share of a network's latency; of a block that is hardly more than a call it may be below zero."""
        return self.scales[scale_group(spec)] * median_ms + self.overhead_ms

    @property
    def unexplained_half_width(self) -> float:
        """What remains beside the intervals of a network's own blocks, as a share of its latency."""
        return math.sqrt(max(0.0, self.relative_half_width**2 - self.block_half_width**2))

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        fields = json.loads(text)
        judged, uncorrected = Agreement(**fields.pop("judged")), Agreement(**fields.pop("uncorrected"))
        return cls(**fields, judged=judged, uncorrected=uncorrected)

    def describe_coefficients(self) -> str:
        """One line for whoever judges the fit."""
        scales = ", ".join(f"{group} {scale:.3f}" for group, scale in self.scales.items())
        return f"Scales: {scales}; {1000 * self.overhead_ms:+.1f} us for each block; ridge {self.ridge:g}."

    def describe(self) -> str:
        """One line for whoever reads the numbers it is in."""
        guessed = f", {self.num_guessed} of whose blocks were guessed" if self.num_guessed else ""
        return (
            f"corrected by kind of block, fitted on {self.num_networks} whole networks of {self.space}{guessed}; "
            f"{self.judged.mape_percent:.1f} % mean error on {self.num_judges} ({self.judged_on})"
        )
