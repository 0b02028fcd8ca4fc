"""The one factor between the sum of a network's blocks and the network itself, fitted by `profilers.check`."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ScaleCard:
    """One factor between the sum of the blocks and whole networks, and what it was fitted on."""

    scale: float
    """Measured whole networks are this many times the sum of their blocks."""
    residual: float
    """Standard deviation of the leave-one-out relative error: what no scale explains."""
    num_networks: int
    """How many whole networks were measured."""
    space: str
    """The search space they came from."""
    mape_raw_percent: float
    """Mean absolute error of the plain sum."""
    mape_scaled_percent: float
    """Mean absolute error with the scale, leave-one-out."""
    fitted_at: str
    """UTC, ISO 8601."""
