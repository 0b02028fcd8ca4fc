"""What every proxy offers: one number for how good an architecture promises to be.

A proxy is worth what its rank correlation with full training says, so scores are only comparable within one proxy, one
teacher and one seed. Imports no torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from search_space.arch import ArchConfig

if TYPE_CHECKING:  # imports torch
    from training.model import TextToImage

Direction = Literal["minimize", "maximize"]

Report = Callable[[int, float], None]
"""Called with a step and the value so far; may raise to end the scoring early."""


@dataclass(frozen=True, kw_only=True)
class ProxyScore:
    """What a proxy says about one architecture."""

    value: float
    """The score, in the proxy's unit."""
    details: dict[str, float] = field(default_factory=dict)
    """What it is made of, and what it cost."""
    intermediate: tuple[tuple[int, float], ...] = ()
    """(step, value so far), in the order reported."""
    model: "TextToImage | None" = field(default=None, repr=False, compare=False)
    """What was trained for the score, in evaluation mode, for whoever wants to look at it; None without a training."""


class AbstractProxy(ABC):
    """A cheap judge of architectures."""

    name: ClassVar[str]
    """As in `proxies.config.PROXY_CONFIGS`."""
    direction: ClassVar[Direction]
    """Which way is better."""
    unit: ClassVar[str]
    """Of the value."""

    @abstractmethod
    def score(self, arch: ArchConfig, *, seed: int, report: Report | None = None) -> ProxyScore:
        """Scores one architecture; the same arguments give the same value.

        Args:
            arch: Whom.
            seed: Decides every random choice; give all candidates of a comparison the same.
            report: Told the value as it develops, where the proxy takes more than one step.
        """
