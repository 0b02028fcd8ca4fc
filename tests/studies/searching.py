"""Searches without training: a real database, the exact device, and an evaluation that only counts."""

import contextlib
import dataclasses
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial
from sqlalchemy import Engine

from profilers.backends.exact import ExactBackend
from profilers.estimating import BlockLatencies
from profilers.latency_table import LatencyTable
from profilers.measuring import measure_space
from profilers.protocol import Protocol
from profilers.storage import open_engine
from search_space.arch import ArchConfig
from search_space.counts import count
from search_space.space import reachable_specs
from studies.config import StudyConfig
from studies.driver import SearchDriver
from studies.executors.base import AbstractExecutor, Evaluate
from studies.executors.in_process import InProcessExecutor
from studies.optuna_study import open_optuna_study
from studies.recipes import smoke
from studies.results import StudyReader, TrialRecord, TrialResult
from studies.writer import StudyWriter

STUDY = "searching"


@pytest.fixture(scope="session")
def measured_space_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose database holds every block of the tiny space; copy it, do not change it."""
    folder = tmp_path_factory.mktemp("measured-space")
    engine = open_engine(f"sqlite:///{folder}/snapnas.db")
    measure_all(engine)
    engine.dispose()
    return folder


@pytest.fixture
def search_engine(measured_space_folder: Path, tmp_path: Path) -> Iterator[Engine]:
    """A database in which a search can begin at once."""
    shutil.copytree(measured_space_folder, tmp_path / "workspace")
    engine = open_engine(f"sqlite:///{tmp_path / 'workspace'}/snapnas.db")
    yield engine
    engine.dispose()


def measure_all(engine: Engine) -> None:
    quick = Protocol(min_rounds=2, max_rounds=2, num_calibration_probes=2)
    measure_space(smoke().search_space, "exact", engine, protocol=quick)


def search_config(**changes: Any) -> StudyConfig:
    return dataclasses.replace(smoke(), **({"latency_budget": None, "num_trials": 4} | changes))


@dataclasses.dataclass
class Counting:
    """An evaluation that counts parameters and remembers whom it was asked about."""

    special: dict[int, Callable[[], float]] = dataclasses.field(default_factory=dict)
    """Evaluation by its order, from 0 -> what to do in place of counting."""
    artifacts: dict[str, str] = dataclasses.field(default_factory=dict)
    """What every evaluation says that it left."""
    arch_ids: list[str] = dataclasses.field(default_factory=list)

    def __call__(self, arch: ArchConfig, number: int) -> TrialResult:
        self.arch_ids.append(arch.arch_id)
        value = self.special.get(len(self.arch_ids) - 1, lambda: 1e6 / count(arch).num_params)()
        details = {"not_a_number": math.nan}
        return TrialResult(proxy_value=value, duration_s=0.1, host="here", details=details, artifacts=self.artifacts)


def search(
    engine: Engine, evaluate: Evaluate | AbstractExecutor, config: StudyConfig | None = None
) -> tuple[list[TrialRecord], list[FrozenTrial]]:
    """Searches, or goes on searching; returns everything that we and Optuna have stored then."""
    config = config or search_config()
    specs = reachable_specs(config.search_space)
    latencies = BlockLatencies.read(specs, LatencyTable(engine), ExactBackend().device)
    with open_search(engine, config) as study:
        driver = SearchDriver(
            config,
            study=study,
            engine=engine,
            latencies=latencies,
            latency_budget_ms=getattr(config.latency_budget, "max_latency_ms", None),
            executor=evaluate if isinstance(evaluate, AbstractExecutor) else InProcessExecutor(evaluate),
            workspace=Path(engine.url.database or "").parent,
        )
        driver.run()
        return StudyReader(engine).trials(STUDY), study.get_trials()


@contextlib.contextmanager
def open_search(engine: Engine, config: StudyConfig | None = None) -> Iterator[optuna.Study]:
    """The study, with its row."""
    config = config or search_config()
    writer = StudyWriter(engine, STUDY)
    if STUDY not in [summary.name for summary in StudyReader(engine).studies()]:
        writer.create_study(
            fingerprint={},
            config=config.to_json(),
            objectives=config.objectives,
            device=ExactBackend().device,
            latency_budget_ms=None,
        )
    with open_optuna_study(engine, STUDY, config) as study:
        yield study


def check_invariants(records: list[TrialRecord], trials: list[FrozenTrial]) -> None:
    """What holds after every search, however it ended."""
    states = {"complete": "COMPLETE", "duplicate": "COMPLETE", "infeasible": "PRUNED", "failed": "FAIL"}
    trials = [trial for trial in trials if trial.state.name != "WAITING"]
    assert [record.number for record in records] == list(range(len(records)))
    assert [(trial.number, trial.state.name) for trial in trials] == [
        (record.number, states[record.state]) for record in records
    ]
    for record, trial in zip(records, trials, strict=True):
        assert (record.failure is not None) >= (record.state == "failed")
        if record.state in ("complete", "duplicate"):
            assert [record.values[one.name] for one in record.objectives] == trial.values
            assert all(map(math.isfinite, trial.values))
    evaluated = [record.arch_id for record in records if record.state == "complete"]
    assert len(set(evaluated)) == len(evaluated)
