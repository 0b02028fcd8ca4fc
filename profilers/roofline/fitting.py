"""Fits the formula to the published figures, and says how well it foretells a figure that it has not seen.

Eleven figures cannot fix fourteen numbers. So every number starts from a belief with a width, all in logarithms, and
the figures pull it away: least squares of (model - published) / tolerance and (number - belief) / width together. What
the figures do not speak of stays at its belief. Leave-one-out is the honest part: one figure is taken out, everything
is fitted again, and the figure is foretold.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.special import stdtrit

from profilers.roofline.calibration import Calibration
from profilers.roofline.formula import Rates, Work, latency_ms, work_of
from profilers.roofline.phones import CHIPS, PHONES, REFERENCE_CHIP, ChipName
from profilers.roofline.published import APPLE, PublishedFigure, Workload
from search_space.walk import block_specs

FloatArray = NDArray[numpy.float64]

# Beliefs, each a start and a width in natural logarithms. None of them is tighter than a factor of 1.3.
_RATE, _RATE_WIDTH = math.log(2000), 0.7  # the width is around the mean of the four rates, which itself is free
_BANDWIDTH, _BANDWIDTH_WIDTH = math.log(50), 1.0  # a phone's memory: tens of gigabytes a second
_LAUNCH, _LAUNCH_WIDTH = math.log(10), 1.5
_GROWTH, _GROWTH_WIDTH = 0.2, 0.3  # a generation is some 20 % faster
_TABLET_WIDTH = 0.5
_APPLE_WIDTH = 1.0
_CHIP_WIDTH = 0.25  # how far a chip strays from its generation

_CHIPS_WITH_FIGURES: tuple[ChipName, ...] = ("A14", "A15", "A16", "M1", "M2")
_START = numpy.array([*[_RATE] * 4, _BANDWIDTH, _LAUNCH, _GROWTH, 0.0, 0.0, *[0.0] * len(_CHIPS_WITH_FIGURES)])
_SIGNIFICANT_DIGITS = 5


@dataclass(frozen=True, kw_only=True)
class FittedFigure:
    """One published figure and what the formula says."""

    figure: PublishedFigure
    """The figure."""
    model: float
    """The formula, fitted on all figures; milliseconds or a ratio, as the figure."""
    left_out: float
    """The formula, fitted on all figures but this."""

    @property
    def model_error(self) -> float:
        return self.model / self.figure.value - 1

    @property
    def left_out_error(self) -> float:
        return self.left_out / self.figure.value - 1


def fit(figures: Sequence[PublishedFigure]) -> Calibration:
    """The constants that the figures and the beliefs give; equal figures, equal constants."""
    works = {workload: _work(workload) for figure in figures for workload in _workloads(figure)}

    def residuals(numbers: FloatArray) -> FloatArray:
        calibration = _calibration(numbers)
        misses = [
            math.log(_predict(figure, calibration, works) / figure.value) / figure.tolerance for figure in figures
        ]
        return numpy.array([*misses, *_strains(numbers)])

    # max(arithmetic, traffic) has kinks, so the derivative is taken over a step wider than rounding errors.
    solution = least_squares(residuals, _START, x_scale="jac", diff_step=1e-5, xtol=1e-12, ftol=1e-12)
    return _calibration(solution.x)


def predict(figure: PublishedFigure, calibration: Calibration) -> float:
    """What the formula says where the figure says `figure.value`."""
    return _predict(figure, calibration, {workload: _work(workload) for workload in _workloads(figure)})


def fitted_figures(figures: Sequence[PublishedFigure], calibration: Calibration) -> tuple[FittedFigure, ...]:
    """Every figure with the formula's value, and with its value when it is fitted on all the others."""
    return tuple(
        FittedFigure(
            figure=figure,
            model=predict(figure, calibration),
            left_out=predict(figure, fit([other for other in figures if other is not figure])),
        )
        for figure in figures
    )


def left_out_half_width(fitted: Sequence[FittedFigure]) -> float:
    """Half the 95 % interval of a latency that the formula has not seen, as a share of what the formula says.

    Student's t times the root mean square of what published milliseconds are off from the formula that was fitted
    without them. Ratios between two networks on one phone are foretold far better, so they are left aside: they would
    flatter.
    """
    errors = [row.figure.value / row.left_out - 1 for row in fitted if row.figure.against is None]
    root_mean_square = math.sqrt(math.fsum(error**2 for error in errors) / len(errors))
    return float(stdtrit(len(errors) - 1, 0.975)) * root_mean_square


def rounded(calibration: Calibration) -> Calibration:
    """The constants with the digits that are stored: more are not reproduced from machine to machine."""

    def shorten(value: float) -> float:
        return float(f"{value:.{_SIGNIFICANT_DIGITS}g}")

    return Calibration(
        rates=Rates(**{name: shorten(value) for name, value in vars(calibration.rates).items()}),
        chip_speeds={name: shorten(speed) for name, speed in calibration.chip_speeds.items()},
        growth_per_generation=shorten(calibration.growth_per_generation),
        tablet_gain=shorten(calibration.tablet_gain),
        apple_gain=shorten(calibration.apple_gain),
        relative_half_width=shorten(calibration.relative_half_width),
    )


def _workloads(figure: PublishedFigure) -> list[Workload]:
    return [figure.workload] if figure.against is None else [figure.workload, figure.against]


def _work(workload: Workload) -> Work:
    return work_of(block_specs(workload.arch), batch_size=workload.batch_size, weight_bits=workload.weight_bits)


def _predict(figure: PublishedFigure, calibration: Calibration, works: dict[Workload, Work]) -> float:
    reference_ms = latency_ms(works[figure.workload], calibration.rates)
    if figure.against is not None:
        return reference_ms / latency_ms(works[figure.against], calibration.rates)
    gain = calibration.apple_gain if figure.source == APPLE else 1.0
    return reference_ms / (calibration.chip_speeds[PHONES[figure.phone].chip] * gain)


def _calibration(numbers: FloatArray) -> Calibration:
    """The constants from their logarithms, in the order of `_START`."""
    growth, tablet, apple = (float(number) for number in numbers[6:9])
    strays = dict(zip(_CHIPS_WITH_FIGURES, numbers[9:], strict=True))
    reference = CHIPS[REFERENCE_CHIP].generation
    speeds = {
        name: math.exp(
            growth * (chip.generation - reference) + tablet * chip.is_for_tablets + float(strays.get(name, 0.0))
        )
        for name, chip in CHIPS.items()
    }
    return Calibration(
        rates=Rates(
            full_convolution=math.exp(numbers[0]),
            depthwise_convolution=math.exp(numbers[1]),
            linear=math.exp(numbers[2]),
            attention=math.exp(numbers[3]),
            bandwidth=math.exp(numbers[4]),
            launch_us=math.exp(numbers[5]),
        ),
        chip_speeds=speeds,
        growth_per_generation=math.exp(growth),
        tablet_gain=math.exp(tablet),
        apple_gain=math.exp(apple),
    )


def _strains(numbers: FloatArray) -> list[float]:
    """How far every number is from its belief, in widths."""
    rates = numbers[:4]
    return [
        *((rates - rates.mean()) / _RATE_WIDTH),
        (numbers[4] - _BANDWIDTH) / _BANDWIDTH_WIDTH,
        (numbers[5] - _LAUNCH) / _LAUNCH_WIDTH,
        (numbers[6] - _GROWTH) / _GROWTH_WIDTH,
        numbers[7] / _TABLET_WIDTH,
        numbers[8] / _APPLE_WIDTH,
        *(numbers[9:] / _CHIP_WIDTH),
    ]
