"""Which trial of which study a command means, read back from the database. Imports no torch.

python -m studies.train 12 --study tiny_on_cpu
python -m studies.export --best
"""

import dataclasses
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Engine

from profilers.storage import display_url, open_engine
from proxies.config import PROXY_CONFIGS, ProxyConfig
from search_space.arch import ArchConfig
from search_space.errors import StorageError, UsageError
from studies.config import StudyConfig
from studies.results import StudyReader, StudySummary, TrialRecord
from studies.trial_folder import trial_folder
from studies.winner import choose_winner

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SelectedTrial:
    """One trial that has an architecture."""

    study: StudySummary
    """Its study."""
    number: int
    """Its number; of a duplicate, that of the trial it repeats."""
    arch: ArchConfig
    """Its architecture."""

    def folder(self, workspace: Path) -> Path:
        """Where `studies.run` keeps what belongs to the trial."""
        return trial_folder(workspace, self.study.name, self.number)


def storage_url(storage: str | None, workspace: Path) -> str:
    """The database that was named, or the one `studies.run` makes in its workspace."""
    return storage or f"sqlite:///{workspace / 'snapnas.db'}"


def open_existing(url: str) -> Engine:
    """A database that can be written, and that was there before.

    Raises:
        StorageError: There is none.
    """
    open_engine(url, read_only=True).dispose()
    return open_engine(url)


def select_study(engine: Engine, name: str | None) -> StudySummary:
    """The study of that name; without a name the newest.

    Raises:
        UsageError: There is none.
    """
    reader = StudyReader(engine)
    if name is not None:
        return reader.study(name)
    studies = reader.studies()
    if not studies:
        raise UsageError(f"{display_url(engine.url)} holds no study", fix="python -m studies.run makes one")
    return studies[0]


def select_trial(engine: Engine, study_name: str | None, *, number: int | None, is_best: bool) -> SelectedTrial:
    """A trial by its number, or the best one.

    Raises:
        UsageError: Both or neither are given, or there is no such study or trial.
        NoFeasibleTrialError: No trial keeps the budget, so none is the best.
    """
    if (number is None) != is_best:
        raise UsageError(
            "no trial was named" if number is None else f"both trial {number} and --best were given",
            allowed="a trial's number, or --best for what studies.run would choose",
        )
    study, reader = select_study(engine, study_name), StudyReader(engine)
    records = reader.trials(study.name)
    if number is None:
        record = choose_winner(records, latency_budget_ms=study.latency_budget_ms)
    else:
        record = _original(_by_number(records, number, study), records)
    if record.arch_id is None:
        raise UsageError(f"trial {record.number} of {study.name!r} was lost before its architecture was known")
    logger.info("trial %d of %s: architecture %s", record.number, study.name, record.arch_id)
    return SelectedTrial(study=study, number=record.number, arch=reader.arch(record.arch_id))


def stored_config(study: StudySummary) -> StudyConfig:
    """The settings a study was begun with.

    Raises:
        StorageError: They are not settings of this version of SnapNAS.
    """
    document: dict[str, Any] = dict(study.config)
    try:
        # Some proxies have no settings, so only the name tells them apart.
        proxy_class = type(PROXY_CONFIGS[document.pop("proxy_name")])
        proxy: ProxyConfig = TypeAdapter(proxy_class).validate_json(json.dumps(document["proxy"]))
        return dataclasses.replace(TypeAdapter(StudyConfig).validate_json(json.dumps(document)), proxy=proxy)
    except (ValidationError, KeyError) as error:
        raise StorageError(
            f"the settings of study {study.name!r} cannot be read: {str(error).splitlines()[0]}",
            fix="use the version of SnapNAS that wrote them, or begin a new study",
        ) from error


def _by_number(records: list[TrialRecord], number: int, study: StudySummary) -> TrialRecord:
    for record in records:
        if record.number == number:
            return record
    last = records[-1].number if records else None
    raise UsageError(
        f"study {study.name!r} has no trial {number}",
        allowed="none yet" if last is None else f"0 to {last}",
        fix="python -m dashboard shows them" if last is not None else "python -m studies.run makes some",
    )


def _original(record: TrialRecord, records: list[TrialRecord]) -> TrialRecord:
    """The trial itself, or the earlier one with the same architecture whose result it took over."""
    originals = {one.number: one for one in records}
    return record if record.duplicate_of is None else originals[record.duplicate_of]
