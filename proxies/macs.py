"""The number of multiply-adds of one forward pass as a promise of quality: free, and a baseline to beat."""

from typing import ClassVar

from proxies.base import AbstractProxy, Direction, ProxyScore, Report
from search_space.arch import ArchConfig
from search_space.counts import count


class MacsProxy(AbstractProxy):
    """Counts multiply-adds; needs no data, no teacher and no training."""

    name: ClassVar[str] = "macs"
    direction: ClassVar[Direction] = "maximize"
    unit: ClassVar[str] = "multiply-adds"

    def score(self, arch: ArchConfig, *, seed: int, report: Report | None = None) -> ProxyScore:
        return ProxyScore(value=float(count(arch).macs))
