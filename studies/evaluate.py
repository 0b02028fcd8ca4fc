"""Scores one architecture: what every executor runs, wherever it runs it.

An `Evaluator` is small until its first call, so that it can be sent to another process; there it opens the data, the
teacher (trained before the search began) and the proxy once, and keeps them for the trials to come.
"""

import platform
import time
from dataclasses import dataclass, field
from pathlib import Path

from proxies.base import AbstractProxy
from proxies.open_proxy import open_proxy
from search_space.arch import ArchConfig
from studies.config import StudyConfig
from studies.results import TrialResult


@dataclass(kw_only=True)
class Evaluator:
    """`evaluator(arch, number)` gives the `TrialResult` of an architecture."""

    config: StudyConfig
    """The study."""
    workspace: Path
    """Where the teacher is kept."""
    num_threads: int | None = None
    """Threads of one evaluation; None leaves that to torch. Several workers have to share the cores."""
    _proxy: AbstractProxy | None = field(default=None, repr=False)

    def __call__(self, arch: ArchConfig, number: int) -> TrialResult:
        """Scores the architecture of trial `number`; every trial of a study sees the same random numbers."""
        started_s = time.perf_counter()
        if self._proxy is None:
            self._proxy = self._open_proxy()
        score = self._proxy.score(arch, seed=self.config.seed)
        return TrialResult(
            proxy_value=score.value,
            duration_s=time.perf_counter() - started_s,
            host=platform.node(),
            details={**score.details, "intermediate": score.intermediate},
        )

    def _open_proxy(self) -> AbstractProxy:
        if not self.config.needs_data:
            return open_proxy(self.config.proxy)
        import torch

        from training.data.open_data import open_data
        from training.teacher import load_or_train_teacher

        if self.num_threads is not None:
            torch.set_num_threads(self.num_threads)
        data = open_data(self.config.data, image_size=self.config.image_size)
        teacher = None
        if self.config.needs_teacher:
            teacher = load_or_train_teacher(data, self.config.teacher, workspace=self.workspace)
        return open_proxy(self.config.proxy, data=data, codec=self.config.teacher.codec, teacher=teacher)
