"""What a study is asked to do, as frozen dataclasses that import no torch.

A recipe (`studies/recipes.py`) is a function that returns a `StudyConfig`; a flag of the command line replaces one of
its fields. The config's sorted JSON is stored with the study.
"""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import assert_never

from profilers.defaults import DEFAULT_DEVICE
from proxies.config import DistillationProxyConfig, MacsProxyConfig, NumParamsProxyConfig, ProxyConfig
from search_space.errors import UsageError
from search_space.space import SearchSpace
from search_space.spaces import search_space
from studies.results import LATENCY_OBJECTIVE, Objective
from training.config import SamplingConfig, TeacherConfig, TrainingConfig


@dataclass(frozen=True, kw_only=True)
class LatencyLimit:
    """A latency budget in milliseconds."""

    max_latency_ms: float
    """The most that an architecture may take."""

    def __post_init__(self) -> None:
        is_allowed = math.isfinite(self.max_latency_ms) and self.max_latency_ms > 0
        _check(is_allowed, f"latency limit {self.max_latency_ms} ms", "milliseconds above 0")


@dataclass(frozen=True, kw_only=True)
class LatencyQuantile:
    """A latency budget that suits any device: what the fastest part of the space takes there.

    It is worked out once, when the study is made, and stored in milliseconds.
    """

    quantile: float
    """The share of the space that keeps the budget."""
    num_archs: int = 500
    """How many random architectures are estimated."""
    seed: int = 0
    """Of these architectures."""

    def __post_init__(self) -> None:
        _check(0 < self.quantile <= 1, f"latency quantile {self.quantile}", "above 0 and up to 1")
        _check(self.num_archs >= 1, f"latency quantile of {self.num_archs} architectures", "an integer from 1")


LatencyBudget = LatencyLimit | LatencyQuantile


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """What a machine needs, for recipes that not every machine can run."""

    gpu_memory_gib: int = 0
    """Memory of a CUDA GPU; 0 if the processor is enough."""
    missing: tuple[str, ...] = ()
    """What this version of SnapNAS does not bring along."""


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """One study, from the measurements to the exported winner."""

    recipe: str
    """The recipe it came from."""
    space: str
    """Which architectures: a name of `search_space.spaces.SPACES`."""
    data: str
    """What to learn: scenes, digits, or a folder of images."""
    image_size: int
    """Side of an image in pixels."""
    device: str = DEFAULT_DEVICE
    """Whose latency counts."""
    interpolate: bool = False
    """Whether blocks that the latency table lacks are guessed from measured ones like them, in place of measuring."""
    latency_budget: LatencyBudget | None
    """What every architecture has to keep; None without a limit."""
    num_trials: int
    """Architectures to evaluate over the study's life."""
    num_random_trials: int = 8
    """Trials before the sampler starts to learn from them."""
    seed: int = 0
    """Decides which architectures are tried, and everything random in their evaluation."""
    proxy: ProxyConfig
    """What stands for quality."""
    teacher: TeacherConfig
    """Whom candidates and the winner follow; its codec is fitted to the data."""
    winner_training: TrainingConfig
    """How the winner is trained."""
    sampling: SamplingConfig
    """How the winner's pictures are drawn."""
    num_score_prompts: int = 96
    """Held-out prompts the winner is scored on."""
    num_grid_prompts: int = 24
    """Pictures on the sheet a person looks at."""
    max_failures_in_row: int = 5
    """After so many failed trials one after another the search stops, because something else is wrong."""
    max_duplicates_in_row: int = 10
    """After so many repeated architectures the next one is drawn at random from those never tried."""
    max_infeasible_in_row: int = 100
    """After so many architectures above the budget the search gives up."""
    requirements: Requirements = Requirements()
    """What the machine needs."""

    def __post_init__(self) -> None:
        counted = ("image_size", "num_trials", "num_score_prompts", "num_grid_prompts")
        for name in (*counted, "max_failures_in_row", "max_duplicates_in_row", "max_infeasible_in_row"):
            _check(getattr(self, name) >= 1, f"study {name} {getattr(self, name)}", "an integer from 1")
        _check(self.num_random_trials >= 0, f"study num_random_trials {self.num_random_trials}", "an integer from 0")

    @property
    def search_space(self) -> SearchSpace:
        return search_space(self.space)

    @property
    def objectives(self) -> tuple[Objective, Objective]:
        """Latency, then what the proxy says."""
        return Objective(name=LATENCY_OBJECTIVE, direction="minimize"), _proxy_objective(self.proxy)

    @property
    def needs_data(self) -> bool:
        """Whether the proxy trains candidates."""
        return isinstance(self.proxy, DistillationProxyConfig)

    @property
    def needs_teacher(self) -> bool:
        """Whether the search cannot begin without a teacher."""
        return isinstance(self.proxy, DistillationProxyConfig) and self.proxy.training.distillation is not None

    def to_json(self) -> str:
        """The sorted JSON, with the proxy's name beside its settings."""
        document = {**dataclasses.asdict(self), "proxy_name": self.proxy.name}
        return json.dumps(document, sort_keys=True, allow_nan=False)


def _proxy_objective(proxy: ProxyConfig) -> Objective:
    # The proxies' own classes say the same, but importing some of them imports torch.
    match proxy:
        case DistillationProxyConfig():
            return Objective(name="held_out_error", direction="minimize")
        case NumParamsProxyConfig():
            return Objective(name="num_params", direction="maximize")
        case MacsProxyConfig():
            return Objective(name="macs", direction="maximize")
        case _:
            assert_never(proxy)


def _check(is_allowed: bool, given: str, allowed: str) -> None:
    if not is_allowed:
        raise UsageError(given, allowed=allowed)
