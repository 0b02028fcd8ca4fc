"""Corrections for tests that only need one to be there."""

from profilers.agreement import Agreement
from profilers.correction import GROUPS, Correction

_AGREEMENT = Agreement(
    name="by hand",
    mape_percent=1.0,
    bias_percent=0.0,
    within_5_percent=1.0,
    within_10_percent=1.0,
    spearman=1.0,
    kendall=1.0,
)


def one_scale(
    scale: float,
    *,
    overhead_ms: float = 0.0,
    relative_half_width: float = 0.04,
    space: str = "tiny",
    num_guessed: int = 0,
) -> Correction:
    """The same scale for every kind of block."""
    return Correction(
        scales=dict.fromkeys(GROUPS, scale),
        overhead_ms=overhead_ms,
        ridge=10.0,
        relative_half_width=relative_half_width,
        block_half_width=0.0,
        num_networks=30,
        space=space,
        num_guessed=num_guessed,
        judged_on="leave-one-out",
        num_judges=30,
        judged=_AGREEMENT,
        uncorrected=_AGREEMENT,
        fitted_at="2026-01-01T00:00:00+00:00",
    )
