"""The number of parameters as a promise of quality: free, and the baseline any other proxy has to beat."""

from typing import ClassVar

from proxies.base import AbstractProxy, Direction, ProxyScore, Report
from search_space.arch import ArchConfig
from search_space.counts import count


class NumParamsProxy(AbstractProxy):
    """Counts parameters; needs no data, no teacher and no training."""

    name: ClassVar[str] = "num_params"
    direction: ClassVar[Direction] = "maximize"
    unit: ClassVar[str] = "parameters"

    def score(self, arch: ArchConfig, *, seed: int, report: Report | None = None) -> ProxyScore:
        return ProxyScore(value=float(count(arch).num_params))
