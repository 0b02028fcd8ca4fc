"""Every published phone latency that the formula is fitted on: eleven numbers from two sources.

Apple's figures are of one network on six devices, so they say how fast the chips are against each other and nothing
about kinds of operation. SnapGen's ablation gives ratios on one phone, so it says how kinds of operation compare; its
one absolute figure sets the scale.
"""

import dataclasses
from dataclasses import dataclass

from search_space.arch import ArchConfig
from search_space.references import sd21, snapgen_ladder, snapgen_t2i

APPLE = "Apple, ml-stable-diffusion: Core ML, CPU_AND_NE, 6-bit weights, float16 activations"
SNAPGEN = "SnapGen (arXiv:2412.09619)"

_ROUNDED_TO_ONE_POINT = 0.01
_FIGURE_TOLERANCE = 0.02


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One forward pass of a network."""

    arch: ArchConfig
    """The network, at the latents and text tokens of the measurement."""
    batch_size: int = 1
    """2 with guidance."""
    weight_bits: float = 16
    """Bits of a weight in memory; SnapGen does not say, 16 is taken."""


@dataclass(frozen=True, kw_only=True)
class PublishedFigure:
    """One published number: milliseconds, or one network's milliseconds divided by another's."""

    title: str
    """What it is."""
    phone: str
    """Name of the device."""
    workload: Workload
    """What ran."""
    against: Workload | None = None
    """What it is divided by; None: the value is in milliseconds."""
    value: float
    """The number."""
    as_published: str
    """The number as its source writes it."""
    tolerance: float
    """How far it may be rounded, relative."""
    source: str
    """Who published it."""


def published_figures() -> tuple[PublishedFigure, ...]:
    """The numbers, in the order in which they are reported."""
    return (*_apple_figures(), *_snapgen_steps(), _snapgen_figure())


def _apple_figures() -> list[PublishedFigure]:
    """SD 2.1 base at 512 px: 64 x 64 latents, 77 tokens, batch 2, steps a second."""
    workload = Workload(arch=dataclasses.replace(sd21(), sample_size=64), batch_size=2, weight_bits=6)
    steps_per_s = {
        "iphone-12-pro-max": 1.45,
        "iphone-13-pro-max": 2.55,
        "iphone-14": 2.57,
        "iphone-14-pro-max": 2.69,
        "ipad-pro-m1": 2.19,
        "ipad-pro-m2": 3.07,
    }
    return [
        PublishedFigure(
            title="SD 2.1 base, 512 px, batch 2",
            phone=phone,
            workload=workload,
            value=1000 / rate,
            as_published=f"{rate} it/s",
            tolerance=_FIGURE_TOLERANCE,
            source=APPLE,
        )
        for phone, rate in steps_per_s.items()
    ]


def _snapgen_steps() -> list[PublishedFigure]:
    """The ablation at 1024 px on an iPhone 15 Pro."""
    steps = {title.split()[0]: Workload(arch=arch) for title, arch in snapgen_ladder()}
    rows = (
        ("1", "0", 0.76, "-24 %", "no self-attention above the lowest resolution"),
        ("2a", "1", 0.38, "-62 %", "separable convolutions, expansion 1"),
        ("2b", "1", 1 / 2.4, "2.4x faster", "separable convolutions, expansion 2"),
        ("4", "3", 0.91, "-9 %", "one key/value head"),
    )
    return [
        PublishedFigure(
            title=f"SnapGen step {step} / step {against}: {what}",
            phone="iphone-15-pro",
            workload=steps[step],
            against=steps[against],
            value=ratio,
            as_published=text,
            tolerance=_ROUNDED_TO_ONE_POINT / ratio,
            source=SNAPGEN,
        )
        for step, against, ratio, text, what in rows
    ]


def _snapgen_figure() -> PublishedFigure:
    return PublishedFigure(
        title="SnapGen UNet, 1024 px",
        phone="iphone-16-pro-max",
        workload=Workload(arch=snapgen_t2i()),
        value=274,
        as_published="274 ms",
        tolerance=_FIGURE_TOLERANCE,
        source=SNAPGEN,
    )
