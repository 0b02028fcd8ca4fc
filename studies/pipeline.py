"""The whole path of one study: measure, teach, search, choose, train, export.

Every step first looks for what an earlier run left: the latency table, the teacher, the trials, the trained winner and
its export are each found again by what made them. So the same command resumes, and redoes nothing that is finished.
"""

import dataclasses
import logging
import math
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from profilers.device import num_usable_cores
from profilers.estimating import BlockLatencies, CannotRunError
from profilers.finding_device import FoundDevice, find_device
from profilers.latency_table import LatencyTable
from profilers.measuring import measure_network, measure_space, require_known
from profilers.storage import display_url, open_engine
from profilers.subject import Subject
from search_space.arch import ArchConfig
from search_space.errors import NoFeasibleTrialError, SnapNASError, StorageError, UsageError
from search_space.progress import progress
from search_space.space import SearchSpace, random_arch
from studies.config import LatencyBudget, LatencyLimit, LatencyQuantile, StudyConfig
from studies.evaluate import Evaluator
from studies.executors.base import AbstractExecutor
from studies.fingerprint import check_fingerprint, latency_table_version, study_fingerprint
from studies.lease import study_lease
from studies.results import StudyReader, StudySummary, TrialRecord, pareto_front
from studies.run_options import Until
from studies.study_data import open_study_data
from studies.trained_artifacts import register_trained
from studies.trial_folder import trial_folder
from studies.winner import choose_winner
from studies.writer import StudyWriter

if TYPE_CHECKING:  # imports torch, which a wrong argument does not need
    from training.data.base import CaptionedImages
    from training.model import TextToImage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StudyRun:
    """What to run, and where."""

    config: StudyConfig
    """The study."""
    study_name: str
    """Its name in the database."""
    workspace: Path
    """Folder of everything that is not in the database."""
    storage_url: str
    """The database."""
    num_workers: int
    """Processes that evaluate; 1 is this one."""
    ray_address: str | None
    """Where Ray Tune evaluates, "local" for this machine; None without Ray."""
    until: Until
    """The last step."""


@dataclass(frozen=True, kw_only=True)
class StudyOutcome:
    """What a run ends with."""

    summary: StudySummary
    """The study."""
    front: tuple[TrialRecord, ...]
    """The best trade-offs, fastest first."""
    winner: TrialRecord
    """What was chosen."""
    measured_latency_ms: float | None
    """Of the whole winner, really run on the device; None if the device is not here, cannot run it, or is a formula."""
    scores: Mapping[str, float]
    """Of the trained winner on held-out data; empty before the training."""
    exported: Mapping[str, Path]
    """Kind -> path; empty before the export."""


def run_study(run: StudyRun) -> StudyOutcome:
    """Runs a study to the step that was asked for, or takes it up where it stands.

    Raises:
        UsageError: The data, the machine or the stored study does not fit.
        NoFeasibleTrialError: No architecture keeps the budget.
        StorageError: The database cannot be reached.
    """
    _require_machine(run.config)
    engine = open_engine(run.storage_url)
    found = find_device(run.config.device, LatencyTable(engine))
    data, config = open_study_data(run.config)
    run = dataclasses.replace(run, config=config)
    with study_lease(engine, run.study_name):
        logger.info("study %s in %s", run.study_name, display_url(engine.url))
        latencies = _block_latencies(config, found, engine)
        summary = _open_study(run, engine, latencies, data)
        teacher = _teacher(run, data)
        _search(run, engine, latencies, latency_budget_ms=summary.latency_budget_ms)
        return _finish(run, engine, found, data=data, teacher=teacher)


def resolve_budget(budget: LatencyBudget | None, space: SearchSpace, latencies: BlockLatencies) -> float | None:
    """The latency budget in milliseconds."""
    match budget:
        case None:
            return None
        case LatencyLimit():
            return budget.max_latency_ms
        case LatencyQuantile():
            return _latency_quantile(budget, space, latencies)


def _latency_quantile(budget: LatencyQuantile, space: SearchSpace, latencies: BlockLatencies) -> float:
    """The latency that this share of random architectures keeps; one that cannot run on the device keeps none."""
    latencies_ms = []
    with progress("estimating the space", total=budget.num_archs, unit="architecture") as bar:
        for index in range(budget.num_archs):
            try:
                latencies_ms.append(latencies.estimate(random_arch(space, budget.seed + index)).latency_ms)
            except CannotRunError:
                latencies_ms.append(math.inf)
            bar.advance(1)
    budget_ms = sorted(latencies_ms)[math.ceil(budget.quantile * budget.num_archs) - 1]
    if not math.isfinite(budget_ms):
        name = latencies.device.name
        raise NoFeasibleTrialError(
            f"{name} cannot run enough of the space for a latency budget of quantile {budget.quantile}",
            fix=f"python -m profilers.table coverage --space {space.name} --device {name} --json lists what failed",
        )
    return budget_ms


def _require_machine(config: StudyConfig) -> None:
    """Refuses a study that this machine cannot run, naming everything it lacks."""
    missing = list(config.requirements.missing)
    if config.requirements.gpu_memory_gib:
        import torch

        memory_gib = torch.cuda.get_device_properties(0).total_memory / 2**30 if torch.cuda.is_available() else 0.0
        if memory_gib < config.requirements.gpu_memory_gib:
            missing.insert(0, f"a CUDA GPU with {config.requirements.gpu_memory_gib} GiB (found {memory_gib:.0f})")
    if missing:
        raise UsageError(
            f"recipe {config.recipe!r} cannot run here; missing: {'; '.join(missing)}",
            fix="see its requirements in studies/recipes.py; tiny_on_cpu runs on any machine",
        )


def _block_latencies(config: StudyConfig, found: FoundDevice, engine: Engine) -> BlockLatencies:
    """What the blocks of the space take on the device: measured if it is here, and guessed if that was asked for."""
    if found.is_here and not config.interpolate:
        measure_space(config.search_space, found.device.name, engine)
    table = LatencyTable(engine)
    latencies = BlockLatencies.of_space(config.search_space, table, found.device, interpolate=config.interpolate)
    require_known(config.search_space, latencies, is_here=found.is_here)
    return latencies


def _open_study(run: StudyRun, engine: Engine, latencies: BlockLatencies, data: "CaptionedImages") -> StudySummary:
    """The study's row: made now, or found with the same fingerprint."""
    from training.teacher import teacher_id

    config, table, reader, device = run.config, LatencyTable(engine), StudyReader(engine), latencies.device
    table_version = latency_table_version(
        config.search_space, table, device, latencies.correction, interpolate=config.interpolate
    )
    fingerprint = study_fingerprint(
        config,
        device=device,
        latency_table_version=table_version,
        data=data.fingerprint,
        teacher=teacher_id(data, config.teacher) if config.needs_teacher else "none",
    )
    stored = {summary.name: summary for summary in reader.studies()}.get(run.study_name)
    if stored is not None:
        check_fingerprint(run.study_name, stored.fingerprint, fingerprint)
        return stored
    StudyWriter(engine, run.study_name).create_study(
        fingerprint=fingerprint,
        config=config.to_json(),
        objectives=config.objectives,
        device=device,
        latency_budget_ms=resolve_budget(config.latency_budget, config.search_space, latencies),
    )
    return StudyReader(engine).study(run.study_name)


def _teacher(run: StudyRun, data: "CaptionedImages") -> "TextToImage | None":
    """The teacher, trained if there is none yet; None if no step needs it."""
    if not run.config.needs_teacher and run.until == "search":
        return None
    from training.teacher import load_or_train_teacher

    return load_or_train_teacher(data, run.config.teacher, workspace=run.workspace)


def _search(run: StudyRun, engine: Engine, latencies: BlockLatencies, *, latency_budget_ms: float | None) -> None:
    from studies.driver import SearchDriver
    from studies.optuna_study import open_optuna_study

    with open_optuna_study(engine, run.study_name, run.config) as study, closing(_open_executor(run)) as executor:
        driver = SearchDriver(
            run.config,
            study=study,
            engine=engine,
            latencies=latencies,
            latency_budget_ms=latency_budget_ms,
            executor=executor,
            workspace=run.workspace,
        )
        driver.run()


def _open_executor(run: StudyRun) -> AbstractExecutor:
    evaluator = Evaluator(config=run.config, study_name=run.study_name, workspace=run.workspace.resolve())
    shared = dataclasses.replace(evaluator, num_threads=max(1, num_usable_cores() // run.num_workers))
    if run.ray_address is not None:
        from studies.executors.ray_tune import RayTuneExecutor

        return RayTuneExecutor(shared, num_workers=run.num_workers, address=run.ray_address)
    if run.num_workers > 1:
        from studies.executors.processes import ProcessExecutor

        return ProcessExecutor(shared, num_workers=run.num_workers)
    from studies.executors.in_process import InProcessExecutor

    return InProcessExecutor(evaluator)


def _finish(
    run: StudyRun, engine: Engine, found: FoundDevice, *, data: "CaptionedImages", teacher: "TextToImage | None"
) -> StudyOutcome:
    """Chooses the winner, measures it, trains it and exports it."""
    reader = StudyReader(engine)
    summary, records = reader.study(run.study_name), reader.trials(run.study_name)
    winner = choose_winner(records, latency_budget_ms=summary.latency_budget_ms)
    assert winner.arch_id is not None
    arch = reader.arch(winner.arch_id)
    outcome = StudyOutcome(
        summary=summary,
        front=tuple(pareto_front(records)),
        winner=winner,
        measured_latency_ms=_measured_latency_ms(arch, found, engine),
        scores={},
        exported={},
    )
    if run.until == "search" or teacher is None:
        return outcome

    from studies.trained import train_winner

    folder = trial_folder(run.workspace, run.study_name, winner.number)
    writer = StudyWriter(engine, run.study_name)
    trained = train_winner(
        arch, config=run.config, teacher=teacher, data=data, folder=folder / "trained", workspace=run.workspace
    )
    register_trained(writer, winner.number, trained, workspace=run.workspace)
    outcome = dataclasses.replace(outcome, scores=trained.scores)
    if run.until == "train":
        return outcome

    from studies.card import latency_rows
    from studies.exported import export_trained

    latencies = latency_rows(arch, LatencyTable(engine), found.device, interpolate=run.config.interpolate)
    exported = export_trained(trained, folder=folder / "exported", latencies=latencies)
    for kind, path in exported.items():
        writer.add_artifact(winner.number, kind, path, workspace=run.workspace)
    return dataclasses.replace(outcome, exported=exported)


def _measured_latency_ms(arch: ArchConfig, found: FoundDevice, engine: Engine) -> float | None:
    """Of a whole network: measured now if the device is here, or else by whoever had it; None if it cannot run."""
    if found.device.is_estimate:
        return None
    if found.is_here:
        try:
            return measure_network(arch, found.device.name, engine).median_ms
        except StorageError:
            raise
        except SnapNASError as error:  # the search is done, and its winner can still be trained and exported
            logger.warning("the winner as a whole stays unmeasured: %s", error)
            return None
    measurement = LatencyTable(engine).measurement(found.device, Subject.of_network(arch))
    return None if measurement is None else measurement.median_ms
