"""Fits a correction: non-negative least squares on relative errors, drawn towards one common scale.

Networks of one space resemble each other, so the milliseconds of two groups may rise and fall together and leave their
scales undetermined. A ridge draws every scale towards the one common scale, and the overhead towards zero, as strongly
as leave-one-out likes best: with many quiet networks each group speaks for itself, with few or noisy ones little but
the common scale remains. The overhead of a block may have either sign, so non-negative least squares sees it twice,
as what a block adds and as what it saves.

The error that is reported comes from networks that took no part at all, neither in the coefficients nor in the choice
of the ridge.
"""

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from scipy.optimize import nnls
from scipy.special import stdtrit

from profilers.agreement import FloatArray, IntArray, Predictor, agreement, judge
from profilers.correction import GROUPS, Correction
from search_space.errors import SnapNASError

RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 10.0)  # the last leaves one common scale and no overhead
_TOLERANCE = 0.5  # standard errors; with 0, thirty noisy networks were predicted 18 % worse than with 0.5


@dataclass(frozen=True, kw_only=True)
class WholeNetworks:
    """Networks that were measured whole, beside what the table says of their blocks."""

    features: FloatArray
    """`[num_networks, num_groups + 1]`, rows of `network_features`."""
    measured_ms: FloatArray
    """`[num_networks]`."""
    block_half_widths: FloatArray
    """`[num_networks]`, half the 95 % intervals of the plain sums, as shares of them."""
    space: str
    """The search space that they came from."""
    num_guessed: int = 0
    """How many of their distinct blocks nobody measured."""

    @property
    def sums_ms(self) -> FloatArray:
        """`[num_networks]`, plain sums of the blocks."""
        sums_ms: FloatArray = self.features[:, :-1].sum(axis=1)
        return sums_ms


def fit_correction(networks: WholeNetworks, *, num_fit: int | None = None) -> Correction:
    """Fits the coefficients and judges them.

    Args:
        networks: At least three of them.
        num_fit: Fit on the first so many and judge on all others; without it, on all, judged by leave-one-out.

    Raises:
        SnapNASError: Fewer than two are left to judge, which have no spread.
    """
    predictor, num_networks = correction_predictor(networks), len(networks.measured_ms)
    predicted_ms, judges = judge(predictor, num_networks, num_fit=num_fit)
    if len(judges) < 2:
        raise SnapNASError(
            f"{num_networks} networks were measured and {num_fit} of them fitted: too few are left to judge the fit",
            allowed="at least 2 judges",
            fix="ask for more networks: up to a tenth may fail",
        )
    measured_ms = networks.measured_ms[judges]
    fitted_on = numpy.arange(num_fit or len(networks.measured_ms))
    ridge = _best_ridge(networks, fitted_on)
    coefficients = _coefficients(networks, fitted_on, [ridge])[0]
    errors = measured_ms / predicted_ms - 1  # relative to the prediction, which is all that a user will have
    return Correction(
        scales=dict(zip(GROUPS, map(float, coefficients[:-1]), strict=True)),
        overhead_ms=float(coefficients[-1]),
        ridge=ridge,
        relative_half_width=float(stdtrit(len(errors) - 1, 0.975) * math.sqrt((errors**2).mean())),
        block_half_width=math.sqrt((networks.block_half_widths[judges] ** 2).mean()),
        num_networks=len(fitted_on),
        space=networks.space,
        num_guessed=networks.num_guessed,
        judged_on="leave-one-out" if num_fit is None else "unseen networks",
        num_judges=len(judges),
        judged=agreement("corrected by kind of block", predicted_ms, measured_ms),
        uncorrected=agreement("sum of the blocks", networks.sums_ms[judges], measured_ms),
        fitted_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def correction_predictor(networks: WholeNetworks) -> Predictor:
    """Predicts networks after a fit on some of them, the choice of the ridge included."""

    def predict(train: IntArray) -> FloatArray:
        predicted_ms: FloatArray = networks.features @ _coefficients(networks, train, [_best_ridge(networks, train)])[0]
        return predicted_ms

    return predict


def _best_ridge(networks: WholeNetworks, train: IntArray) -> float:
    """The strongest ridge whose leave-one-out error within `train` is hardly larger than the smallest one.

    Hardly: by no more than half a standard error. Noise would otherwise choose a weak ridge and be fitted by it.
    """
    squares = numpy.empty((len(RIDGES), len(train)))
    for column, left_out in enumerate(train):
        predicted_ms = _coefficients(networks, train[train != left_out], RIDGES) @ networks.features[left_out]
        squares[:, column] = (predicted_ms / networks.measured_ms[left_out] - 1) ** 2
    means = squares.mean(axis=1)
    best = int(means.argmin())
    limit = means[best] + _TOLERANCE * squares[best].std() / math.sqrt(len(train)) + 1e-12
    return max(ridge for ridge, mean in zip(RIDGES, means, strict=True) if mean <= limit)


def _coefficients(networks: WholeNetworks, train: IntArray, ridges: Sequence[float]) -> FloatArray:
    """`[num_ridges, num_groups + 1]`: scales, none below zero, and the overhead in milliseconds, of either sign."""
    features, measured_ms = networks.features[train], networks.measured_ms[train]
    common_scale = numpy.median(measured_ms / networks.sums_ms[train])
    # A coefficient's unit: the common scale, and for the overhead what would be everything. All then weigh alike.
    units = numpy.full(len(GROUPS) + 1, common_scale)
    units[-1] = numpy.median(measured_ms / features[:, -1])
    shares = features * units / measured_ms[:, None]  # [num_train, num_groups + 1]: each row should sum to one
    shares = numpy.column_stack([shares, -shares[:, -1]])  # [num_train, num_groups + 2]: what a block saves comes last
    anchor = numpy.append(numpy.ones(len(GROUPS)), (0.0, 0.0))
    wanted = numpy.append(numpy.ones(len(train)), anchor)
    solutions = []
    for ridge in ridges:
        pull = numpy.append(numpy.ones(len(train)), numpy.full(len(anchor), math.sqrt(ridge * len(train))))
        design = numpy.vstack([shares, numpy.eye(len(anchor))]) * pull[:, None]
        *scales, added, saved = nnls(design, wanted * pull)[0]
        solutions.append(numpy.append(scales, added - saved) * units)
    coefficients: FloatArray = numpy.stack(solutions)
    return coefficients
