"""A workspace with a real database: the exact device measured by a real campaign, a study by the real writer."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from sqlalchemy import Engine

from profilers.backends.exact import ExactBackend
from profilers.campaign import run_campaign
from profilers.estimating import estimate
from profilers.latency_table import LatencyTable
from profilers.protocol import Protocol
from profilers.storage import open_engine
from profilers.subject import Subject
from search_space.arch import ArchConfig
from search_space.counts import count
from search_space.space import random_arch
from search_space.spaces import search_space
from search_space.walk import block_specs
from studies.results import LATENCY_OBJECTIVE, Failure, Objective, TrialResult
from studies.writer import StudyWriter

STUDY = "tiny_exact"
OBJECTIVES = (
    Objective(name=LATENCY_OBJECTIVE, direction="minimize"),
    Objective(name="held_out_error", direction="minimize"),
)
CONFIG = '{"recipe": "tiny_on_cpu", "space": "tiny", "data": "scenes", "seed": 0}'
NUM_ARCHS = 30


@dataclass(frozen=True, kw_only=True)
class SampleStudy:
    """A database and what can be added to it."""

    folder: Path
    """The workspace."""
    url: str
    """The database."""
    engine: Engine
    """Open for writing."""
    writer: StudyWriter
    """Of the study."""
    budget_ms: float
    """The study's latency budget."""

    def add_trial(self, number: int, *, proxy_value: float | None = None) -> None:
        """Adds what the search would: a complete trial with a picture, or an infeasible one above the budget."""
        arch = sample_arch(number)
        latency = estimate(arch, LatencyTable(self.engine), ExactBackend().device)
        violation = latency.latency_ms / self.budget_ms - 1
        self.writer.start_trial(number, arch, estimate=latency, violation=violation, seed=number)
        if violation > 0:
            self.writer.reject_trial(number, failure=None)
        else:
            value = 2e5 / count(arch).num_params if proxy_value is None else proxy_value
            self.writer.complete_trial(number, TrialResult(proxy_value=value, duration_s=1.5, host="here"))
            self.add_picture(number)

    def add_picture(self, number: int, name: str = "samples.png", *, kind: str = "samples", width: int = 320) -> Path:
        """Adds a sheet of samples to a trial."""
        path = self.folder / "trials" / str(number) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.linear_gradient("L").resize((width, 160)).convert("RGB").save(path)
        self.writer.add_artifact(number, kind, path, workspace=self.folder)
        return path

    def add_training(self, number: int) -> None:
        """Adds what a full training would: scores, and a picture of its own."""
        self.add_picture(number, "grid.png", kind="grid", width=400)
        path = self.folder / "trials" / str(number) / "scores.json"
        path.write_text('{"counting": 0.25, "overall": 0.75, "velocity_error": 0.0625}')
        self.writer.add_artifact(number, "scores", path, workspace=self.folder)


def sample_arch(number: int) -> ArchConfig:
    return random_arch(search_space("tiny"), seed=number)


def measure_exact_device(folder: Path) -> None:
    """Makes a workspace whose database holds the exact device's latency of every block of the sample architectures."""
    engine = open_engine(f"sqlite:///{folder}/snapnas.db")
    specs = dict.fromkeys(spec for number in range(NUM_ARCHS) for spec in block_specs(sample_arch(number)))
    run_campaign(
        [Subject.of_block(spec) for spec in specs],
        ExactBackend(),
        LatencyTable(engine),
        description="measuring the exact device",
        protocol=Protocol(min_rounds=2, num_calibration_probes=3),
    )
    engine.dispose()


def start_study(folder: Path, *, name: str = STUDY, budget_quantile: float = 0.8) -> SampleStudy:
    """Begins a study without trials in a measured workspace."""
    url = f"sqlite:///{folder}/snapnas.db"
    engine = open_engine(url)
    device = ExactBackend().device
    table = LatencyTable(engine)
    latencies_ms = sorted(estimate(sample_arch(number), table, device).latency_ms for number in range(NUM_ARCHS))
    budget_ms = latencies_ms[int(budget_quantile * NUM_ARCHS)]
    writer = StudyWriter(engine, name)
    writer.create_study(
        fingerprint={}, config=CONFIG, objectives=OBJECTIVES, device=device, latency_budget_ms=budget_ms
    )
    return SampleStudy(folder=folder, url=url, engine=engine, writer=writer, budget_ms=budget_ms)


def fill_study(study: SampleStudy, *, num_trials: int = 20) -> None:
    """Adds trials that are complete, infeasible, failed and running."""
    for number in range(num_trials):
        study.add_trial(number)
    study.writer.start_unknown_trial(num_trials)
    failure = Failure(type="ValueError", message="<img src=x onerror=alert(1)>", log="Traceback ...")
    study.writer.fail_trial(num_trials, failure)
    arch = sample_arch(num_trials)
    study.writer.start_trial(num_trials + 1, arch, estimate=None, violation=None, seed=0)
