"""The calibration as a page: constants, every published figure beside the formula, and what it is all worth."""

import math
from collections.abc import Sequence
from typing import Any

from profilers.roofline.calibration import Calibration
from profilers.roofline.fitting import FittedFigure
from profilers.roofline.phones import CHIPS, REFERENCE_CHIP

_MAC_RATES = ("full_convolution", "depthwise_convolution", "linear", "attention")
_UNMOVED = 1e-3  # a rate this near the four rates' mean was moved by no figure

_SOURCES = """The two sources do not fit one machine: Apple's own conversion runs {gain:.1f} times faster than the
formula says. One factor takes that up; a device's milliseconds here are for a conversion like SnapGen's."""

WORTH = """Fitted on eleven published figures: one network on six devices, four ratios of SnapGen's ablation on one
phone, and one absolute figure of SnapGen. No phone was touched. Leave-one-out flatters: two of the phones share a chip,
and the formula's shape (a launch for each key/value head) was chosen with all figures in view. Believe which of two
SnapGen-like networks is faster and about by how much; do not believe a millisecond of another kind of network, or of a
chip without a SnapGen figure, to better than the errors above."""


def text(calibration: Calibration, fitted: Sequence[FittedFigure]) -> str:
    """The page for people."""
    gain = calibration.apple_gain
    return "\n".join(
        [
            f"Calibration {calibration.calibration_id}: estimates, never measured here.",
            "",
            *_constants_table(calibration),
            "",
            *_figures_table(fitted),
            "",
            f"Largest error, fitted: {_largest(fitted):.1%}; left out: {_largest(fitted, left_out=True):.1%}.",
            f"95 % interval of a latency: +-{calibration.relative_half_width:.0%}, from the left-out milliseconds.",
            "",
            _SOURCES.format(gain=gain),
            "",
            WORTH,
        ]
    )


def json_document(calibration: Calibration, fitted: Sequence[FittedFigure]) -> dict[str, Any]:
    """The page for programs."""
    return {
        "calibration_id": calibration.calibration_id,
        "is_estimate": True,
        "rates": vars(calibration.rates),
        "rates_unmoved_by_any_figure": _unmoved_rates(calibration),
        "chip_speeds": calibration.chip_speeds,
        "growth_per_generation": calibration.growth_per_generation,
        "tablet_gain": calibration.tablet_gain,
        "apple_gain": calibration.apple_gain,
        "relative_half_width": calibration.relative_half_width,
        "figures": [
            {
                "title": row.figure.title,
                "device": row.figure.phone,
                "source": row.figure.source,
                "as_published": row.figure.as_published,
                "unit": "ms" if row.figure.against is None else "ratio",
                "published": row.figure.value,
                "model": row.model,
                "model_error_percent": 100 * row.model_error,
                "left_out": row.left_out,
                "left_out_error_percent": 100 * row.left_out_error,
            }
            for row in fitted
        ],
        "worth": " ".join(WORTH.split()),
    }


def _constants_table(calibration: Calibration) -> list[str]:
    rates, unmoved = calibration.rates, _unmoved_rates(calibration)

    def line(name: str, value: float) -> str:
        remark = " (a belief: no figure moves it)" if name in unmoved else ""
        return f"| {name.replace('_', ' ')}{remark} | {value / 1000:.2f} T macs/s |"

    return [
        f"| on the {REFERENCE_CHIP} | rate |",
        "|---|---|",
        *(line(name, getattr(rates, name)) for name in _MAC_RATES),
        f"| memory | {rates.bandwidth:.1f} GB/s |",
        f"| launch | {rates.launch_us:.1f} us |",
        "",
        f"| chip | speed against the {REFERENCE_CHIP} |",
        "|---|---|",
        *(f"| {name} | {calibration.chip_speeds[name]:.2f} |" for name in CHIPS),
    ]


def _figures_table(fitted: Sequence[FittedFigure]) -> list[str]:
    lines = [
        "| figure | device | published | formula | error | left out | error |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in fitted:
        figure = row.figure
        published = figure.as_published
        if figure.against is None and not published.endswith("ms"):
            published += f" = {figure.value:.0f} ms"
        lines.append(
            f"| {figure.title} | {figure.phone} | {published} | {_value(row, row.model)} | {row.model_error:+.1%} "
            f"| {_value(row, row.left_out)} | {row.left_out_error:+.1%} |"
        )
    return lines


def _value(row: FittedFigure, value: float) -> str:
    return f"{value:.0f} ms" if row.figure.against is None else f"{value - 1:+.1%}"


def _largest(fitted: Sequence[FittedFigure], *, left_out: bool = False) -> float:
    return max(abs(row.left_out_error if left_out else row.model_error) for row in fitted)


def _unmoved_rates(calibration: Calibration) -> list[str]:
    """Rates that stayed at the mean of the four, which is where the fit starts them."""
    logarithms = {name: math.log(getattr(calibration.rates, name)) for name in _MAC_RATES}
    mean = math.fsum(logarithms.values()) / len(logarithms)
    return [name for name, logarithm in logarithms.items() if abs(logarithm - mean) < _UNMOVED]
