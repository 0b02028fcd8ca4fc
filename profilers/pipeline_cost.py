"""What a whole picture costs: the text encoder once, the UNet once or twice a step, the decoder once.

A search compares UNets by the milliseconds of one run; a user waits for the picture. With guidance every step runs the
UNet twice, with the caption and with the empty one, while the empty caption's encoding is the same for every picture
and is kept. A part whose time nobody gave is named as missing, never counted as nothing in silence.
"""

import math
from dataclasses import dataclass
from typing import Literal

from profilers.estimating import LatencyEstimate
from profilers.measurement import Measurement

Source = Literal["measured", "estimated", "given"]


@dataclass(frozen=True, kw_only=True)
class PartCost:
    """One part of the way from a caption to a picture."""

    name: str
    """text encoder, UNet or decoder."""
    source: Source
    """Where the milliseconds of one run come from: a clock, the table's blocks, or the user."""
    run_ms: float
    """One run."""
    low_ms: float
    """The lower end of one run's 95 % interval."""
    high_ms: float
    """The upper end of one run's 95 % interval."""
    num_runs: int = 1
    """How often it runs for one picture."""

    @property
    def latency_ms(self) -> float:
        """All runs for one picture."""
        return self.num_runs * self.run_ms


@dataclass(frozen=True, kw_only=True)
class PipelineCost:
    """A picture, part by part."""

    parts: tuple[PartCost, ...]
    """What is known, in the order in which it runs."""
    missing: tuple[str, ...]
    """Parts whose time is not known and not in the sum."""

    @property
    def latency_ms(self) -> float:
        return math.fsum(part.latency_ms for part in self.parts)

    @property
    def low_ms(self) -> float:
        """Parts err independently of each other; the runs of one part err alike."""
        return self.latency_ms - math.hypot(*(part.num_runs * (part.run_ms - part.low_ms) for part in self.parts))

    @property
    def high_ms(self) -> float:
        return self.latency_ms + math.hypot(*(part.num_runs * (part.high_ms - part.run_ms) for part in self.parts))


def pipeline_cost(
    unet: LatencyEstimate | Measurement,
    *,
    num_steps: int,
    uses_guidance: bool,
    text_encoder_ms: float | None = None,
    decoder_ms: float | None = None,
) -> PipelineCost:
    """Adds up the parts.

    Args:
        unet: One run of the UNet.
        num_steps: Steps of the sampler, each of which runs the UNet once.
        uses_guidance: Whether each step runs it twice.
        text_encoder_ms: One caption, as the user knows it; None: not known.
        decoder_ms: One latent to a picture, as the user knows it; None: not known.
    """
    given = {"text encoder": text_encoder_ms, "decoder": decoder_ms}
    known = {name: _given(name, run_ms) for name, run_ms in given.items() if run_ms is not None}
    unet_part = _unet(unet, num_runs=num_steps * (2 if uses_guidance else 1))
    parts = (known.get("text encoder"), unet_part, known.get("decoder"))
    return PipelineCost(
        parts=tuple(part for part in parts if part is not None),
        missing=tuple(name for name in given if name not in known),
    )


def _given(name: str, run_ms: float) -> PartCost:
    return PartCost(name=name, source="given", run_ms=run_ms, low_ms=run_ms, high_ms=run_ms)


def _unet(unet: LatencyEstimate | Measurement, *, num_runs: int) -> PartCost:
    match unet:
        case LatencyEstimate():
            return PartCost(
                name="UNet",
                source="estimated",
                run_ms=unet.latency_ms,
                low_ms=unet.low_ms,
                high_ms=unet.high_ms,
                num_runs=num_runs,
            )
        case Measurement():
            low_ms, high_ms = unet.confidence_interval_ms()
            return PartCost(
                name="UNet",
                source="measured",
                run_ms=unet.median_ms,
                low_ms=low_ms,
                high_ms=high_ms,
                num_runs=num_runs,
            )
