"""How well predictions agree with what was measured: errors in percent, and two rank correlations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

FloatArray = NDArray[numpy.float64]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """One way to predict latency, against measured networks."""

    name: str
    """The way to predict."""
    mape_percent: float
    """Mean absolute relative error."""
    bias_percent: float
    """Mean relative error; above zero the prediction is too slow."""
    within_5_percent: float
    """Share of the networks that are predicted to +-5 %, 0 to 1."""
    within_10_percent: float
    """Share of the networks that are predicted to +-10 %, 0 to 1."""
    spearman: float
    """Rank correlation; 1 is the same order."""
    kendall: float
    """Kendall's tau-b: pairs in the right order minus pairs in the wrong one, ties taken out."""


def agreement(name: str, predicted_ms: Sequence[float], measured_ms: Sequence[float]) -> Agreement:
    """Compares predictions with measurements of the same networks in the same order."""
    errors = numpy.asarray(predicted_ms) / numpy.asarray(measured_ms) - 1
    return Agreement(
        name=name,
        mape_percent=100 * float(numpy.abs(errors).mean()),
        bias_percent=100 * float(errors.mean()),
        within_5_percent=float((numpy.abs(errors) <= 0.05).mean()),
        within_10_percent=float((numpy.abs(errors) <= 0.10).mean()),
        spearman=spearman(predicted_ms, measured_ms),
        kendall=kendall(predicted_ms, measured_ms),
    )


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation; 0 where one side is constant and so orders nothing."""
    return _pearson(_ranks(first), _ranks(second))


def kendall(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's tau-b; 0 where one side is constant and so orders nothing."""
    first_signs, second_signs = _pair_signs(first), _pair_signs(second)
    untied = math.sqrt(float(numpy.abs(first_signs).sum()) * float(numpy.abs(second_signs).sum()))
    return float((first_signs * second_signs).sum()) / untied if untied else 0.0


def leave_one_out_scale(estimated_ms: Sequence[float], measured_ms: Sequence[float]) -> list[float]:
    """Every estimate times the median ratio of all the other networks."""
    ratios = numpy.asarray(measured_ms) / numpy.asarray(estimated_ms)
    return [
        float(estimate_ms * numpy.median(numpy.delete(ratios, index))) for index, estimate_ms in enumerate(estimated_ms)
    ]


def leave_one_out_line(feature: Sequence[float], measured_ms: Sequence[float]) -> list[float]:
    """Every network predicted by the straight line through all the others' (feature, latency)."""
    x, y = numpy.asarray(feature, dtype=float), numpy.asarray(measured_ms)
    predicted_ms = []
    for index in range(len(x)):
        slope, intercept = numpy.polyfit(numpy.delete(x, index), numpy.delete(y, index), 1)
        predicted_ms.append(float(slope * x[index] + intercept))
    return predicted_ms


def _ranks(values: Sequence[float]) -> FloatArray:
    """Ranks from 1, equal values sharing their mean rank."""
    array = numpy.asarray(values)
    smaller = (array[None, :] < array[:, None]).sum(axis=1)  # [N]
    equal = (array[None, :] == array[:, None]).sum(axis=1)  # [N], itself included
    ranks: FloatArray = smaller + (equal + 1) / 2
    return ranks


def _pearson(first: FloatArray, second: FloatArray) -> float:
    first, second = first - first.mean(), second - second.mean()
    spread = math.sqrt(float((first**2).sum()) * float((second**2).sum()))
    return float((first * second).sum()) / spread if spread else 0.0


def _pair_signs(values: Sequence[float]) -> FloatArray:
    array = numpy.asarray(values, dtype=float)
    signs: FloatArray = numpy.sign(array[:, None] - array[None, :])  # [N, N]
    return signs
