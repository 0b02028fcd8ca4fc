"""How well predictions agree with what was measured: errors in percent, and two rank correlations."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

FloatArray = NDArray[numpy.float64]
IntArray = NDArray[numpy.int64]
Numbers = Sequence[float] | FloatArray

Predictor = Callable[[IntArray], FloatArray]
"""Fitted on the networks at the given indices, it predicts every network, in milliseconds."""


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


def agreement(name: str, predicted_ms: Numbers, measured_ms: Numbers) -> Agreement:
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


def agreement_table(agreements: Sequence[Agreement]) -> list[str]:
    """One line for each way to predict, under a heading, as Markdown."""
    heading = "| prediction | MAPE | bias | within 5 % | within 10 % | Spearman | Kendall |"
    return [heading, "|---|---|---|---|---|---|---|", *map(_table_line, agreements)]


def _table_line(row: Agreement) -> str:
    return (
        f"| {row.name} | {row.mape_percent:.2f} % | {row.bias_percent:+.2f} % | {row.within_5_percent:.0%} "
        f"| {row.within_10_percent:.0%} | {row.spearman:.3f} | {row.kendall:.3f} |"
    )


def spearman(first: Numbers, second: Numbers) -> float:
    """Spearman's rank correlation; 0 where one side is constant and so orders nothing."""
    return _pearson(_ranks(first), _ranks(second))


def kendall(first: Numbers, second: Numbers) -> float:
    """Kendall's tau-b; 0 where one side is constant and so orders nothing."""
    first_signs, second_signs = _pair_signs(first), _pair_signs(second)
    untied = math.sqrt(float(numpy.abs(first_signs).sum()) * float(numpy.abs(second_signs).sum()))
    return float((first_signs * second_signs).sum()) / untied if untied else 0.0


def judge(predictor: Predictor, num_networks: int, *, num_fit: int | None = None) -> tuple[FloatArray, IntArray]:
    """Predicts networks that took no part in the fit: the predictions, and the indices of the networks they are of.

    Args:
        predictor: The way to predict.
        num_networks: How many networks there are.
        num_fit: Fit on the first so many, predict all others; without it, predict each after a fit on all others.
    """
    indices = numpy.arange(num_networks)
    if num_fit is not None:
        return predictor(indices[:num_fit])[num_fit:], indices[num_fit:]
    return numpy.array([predictor(indices[indices != index])[index] for index in indices]), indices


def judge_all(
    predictors: Mapping[str, Predictor], measured_ms: FloatArray, *, num_fit: int | None = None
) -> tuple[Agreement, ...]:
    """How every named way to predict agrees with networks that took no part in its fit; see `judge`."""
    agreements = []
    for name, predictor in predictors.items():
        predicted_ms, judges = judge(predictor, len(measured_ms), num_fit=num_fit)
        agreements.append(agreement(name, predicted_ms, measured_ms[judges]))
    return tuple(agreements)


def scale_predictor(sums_ms: FloatArray, measured_ms: FloatArray) -> Predictor:
    """Every sum times the median ratio."""

    def predict(train: IntArray) -> FloatArray:
        predicted_ms: FloatArray = sums_ms * numpy.median(measured_ms[train] / sums_ms[train])
        return predicted_ms

    return predict


def line_predictor(feature: FloatArray, measured_ms: FloatArray) -> Predictor:
    """The straight line through (feature, latency)."""

    def predict(train: IntArray) -> FloatArray:
        slope, intercept = numpy.polyfit(feature[train], measured_ms[train], 1)
        predicted_ms: FloatArray = slope * feature + intercept
        return predicted_ms

    return predict


def _ranks(values: Numbers) -> FloatArray:
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


def _pair_signs(values: Numbers) -> FloatArray:
    array = numpy.asarray(values, dtype=float)
    signs: FloatArray = numpy.sign(array[:, None] - array[None, :])  # [N, N]
    return signs
