import dataclasses
import multiprocessing
import os
import signal
import sqlite3
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import sqlalchemy
from sqlalchemy import Engine

from profilers.backends.exact import ExactBackend, exact_latency_ms
from profilers.campaign import run_campaign
from profilers.environment import record_environment
from profilers.latency_table import LatencyTable
from profilers.protocol import Protocol
from profilers.sentinel import SENTINEL
from profilers.storage import open_engine
from profilers.subject import Subject
from search_space.errors import StorageError
from search_space.specs import BlockSpec, ConvSpec
from tests.profilers.samples import steady_sample

DEVICE = ExactBackend().device


def positions(table: LatencyTable, subjects: list[Subject]) -> list[tuple[int, ...]]:
    """For every round, the place of every subject."""
    samples = table.samples(DEVICE, subjects)
    return list(zip(*([sample.position for sample in samples[subject]] for subject in subjects), strict=True))


def test_exact_device_is_measured_exactly(
    engine: Engine, small_specs: tuple[BlockSpec, ...], quick_protocol: Protocol
) -> None:
    table = LatencyTable(engine)
    run_campaign(list(map(Subject.of_block, small_specs)), ExactBackend(), table, protocol=quick_protocol)
    for spec in small_specs:
        record = table.records(DEVICE, [Subject.of_block(spec)])[Subject.of_block(spec)]
        assert record.status == "measured"
        assert record.median_ms == pytest.approx(exact_latency_ms(spec), rel=1e-9)


class RememberingBackend(ExactBackend):
    """Writes a file for every subject, and knows for which it did."""

    def __init__(self, *, max_prepared: int | None = None) -> None:
        self.prepared: list[Subject] = []
        self._max_prepared = max_prepared

    def prepare(self, subject: Subject, path: Path) -> None:
        if len(self.prepared) == self._max_prepared:
            path.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
        path.write_text("whole")
        self.prepared.append(subject)


@pytest.mark.parametrize(("commit", "num_left"), [("0123456789ab", 3), ("0123456789ab-dirty", 0), (None, 3)])
def test_what_a_killed_campaign_had_exported_is_not_exported_again_by_the_same_code(
    sqlite_engine: Engine,
    small_specs: tuple[BlockSpec, ...],
    quick_protocol: Protocol,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    commit: str | None,
    num_left: int,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("profilers.campaign.git_commit", lambda: commit)
    subjects, table = list(map(Subject.of_block, small_specs)), LatencyTable(sqlite_engine)
    context = multiprocessing.get_context("fork")
    killed = context.Process(target=run_campaign, args=(subjects, RememberingBackend(max_prepared=3), table))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    (left_behind,) = tmp_path.glob("snapnas-measuring-*")
    already_exported = {path.stem for path in left_behind.rglob("*.prepared")}
    assert len(already_exported) == 3

    backend = RememberingBackend()
    run_campaign(subjects, backend, table, protocol=quick_protocol)
    exported = {subject.subject_id for subject in backend.prepared}
    assert len(exported & already_exported) == 3 - num_left
    assert exported | already_exported == {subject.subject_id for subject in [SENTINEL, *subjects]}
    assert list(tmp_path.glob("snapnas-measuring-*")) == []


def test_a_campaign_keeps_its_rules_and_the_machine_before_and_after(
    sqlite_engine: Engine, small_specs: tuple[BlockSpec, ...], quick_protocol: Protocol
) -> None:
    run_campaign(
        [Subject.of_block(small_specs[0])], ExactBackend(), LatencyTable(sqlite_engine), protocol=quick_protocol
    )
    with sqlite_engine.connect() as connection:
        query = "SELECT protocol, environment_before, environment_after FROM latency_campaigns"
        ((protocol, before, after),) = connection.execute(sqlalchemy.text(query)).all()
    assert '"seed": 0' in protocol
    assert "load_average" in before
    assert "load_average" in after


def test_rounds_are_interleaved_at_random_and_repeatably(tmp_path: Path, small_specs: tuple[BlockSpec, ...]) -> None:
    subjects = [Subject.of_block(ConvSpec(in_channels=4, out_channels=4, size=size)) for size in range(4, 14)]
    protocol = Protocol(min_rounds=6, num_calibration_probes=3)
    found = []
    for name in ("first", "second"):
        table = LatencyTable(open_engine(f"sqlite:///{tmp_path / name}"))
        run_campaign(subjects, ExactBackend(), table, protocol=protocol)
        found.append(positions(table, subjects))
    assert found[0] == found[1]
    assert all(sorted(order) == list(range(len(subjects))) for order in found[0])
    assert len(set(found[0])) == len(found[0])


def test_samples_of_a_killed_campaign_count(
    sqlite_engine: Engine, small_specs: tuple[BlockSpec, ...], quick_protocol: Protocol
) -> None:
    table, subjects = LatencyTable(sqlite_engine), list(map(Subject.of_block, small_specs))
    table.add_device(DEVICE)
    run_campaign(subjects[:1], ExactBackend(), table, protocol=quick_protocol)
    kept = table.samples(DEVICE, subjects[:1])[subjects[0]]
    with sqlite_engine.begin() as connection:  # as if it had been killed ahead of the last step
        connection.execute(sqlalchemy.text("UPDATE latency_rows SET status = 'sampling', median_ms = NULL"))
    run_campaign(subjects, ExactBackend(), table, protocol=quick_protocol)
    found = table.samples(DEVICE, subjects)
    assert found[subjects[0]][: len(kept)] == kept
    assert len(found[subjects[0]]) == len(kept) + 1
    assert len(found[subjects[1]]) == quick_protocol.min_rounds


def test_a_later_campaign_is_measured_against_the_first_sentinel(
    sqlite_engine: Engine, small_specs: tuple[BlockSpec, ...], quick_protocol: Protocol
) -> None:
    table = LatencyTable(sqlite_engine)
    table.add_device(DEVICE)
    sentinel = ExactBackend().load(SENTINEL, Path()).run(1) * 1000
    table.set_sentinel_ms(DEVICE, sentinel / 2)  # the machine was twice as fast then
    subject = Subject.of_block(small_specs[0])
    run_campaign([subject], ExactBackend(), table, protocol=quick_protocol)
    assert table.records(DEVICE, [subject])[subject].median_ms == pytest.approx(exact_latency_ms(small_specs[0]) / 2)


def test_a_database_without_room_loses_nothing_that_was_kept(sqlite_engine: Engine, quick_protocol: Protocol) -> None:
    table = LatencyTable(sqlite_engine)
    subjects = [Subject.of_block(ConvSpec(in_channels=4, out_channels=4, size=size)) for size in range(4, 34)]
    run_campaign(subjects[:2], ExactBackend(), table, protocol=quick_protocol)
    kept = table.samples(DEVICE, subjects)
    sqlite_engine.dispose()

    def fill_the_disk(connection: sqlite3.Connection, _record: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages + 1}")

    sqlalchemy.event.listen(sqlite_engine, "connect", fill_the_disk)
    with pytest.raises(StorageError, match="full"):
        run_campaign(subjects, ExactBackend(), table, protocol=quick_protocol)
    sqlalchemy.event.remove(sqlite_engine, "connect", fill_the_disk)
    sqlite_engine.dispose()
    found = table.samples(DEVICE, subjects)
    assert all(found[subject][: len(samples)] == samples for subject, samples in kept.items())
    run_campaign(subjects, ExactBackend(), table, protocol=quick_protocol)
    assert {record.status for record in table.records(DEVICE, subjects).values()} == {"measured"}


def add_noisy_samples(table: LatencyTable, subjects: list[Subject]) -> list[Subject]:
    """Gives the subjects samples that no further ones make stable."""
    table.add_device(DEVICE)
    campaign_id = table.start_campaign(DEVICE, protocol="{}", environment=record_environment())
    noisy = {subject: [steady_sample(value) for value in (0.01, 0.02, 0.5, 0.9)] for subject in subjects}
    table.add_samples(DEVICE, noisy, campaign_id=campaign_id)
    return subjects


@pytest.mark.parametrize(("num_noisy", "num_samples"), [(1, 8), (2, 5)])
def test_the_unstable_get_a_second_chance_unless_they_are_too_many(
    sqlite_engine: Engine,
    small_specs: tuple[BlockSpec, ...],
    quick_protocol: Protocol,
    num_noisy: int,
    num_samples: int,
) -> None:
    table, subjects = LatencyTable(sqlite_engine), list(map(Subject.of_block, small_specs))
    noisy = add_noisy_samples(table, subjects[:num_noisy])
    protocol, backend = dataclasses.replace(quick_protocol, num_always_again=0), RememberingBackend()
    run_campaign(subjects, backend, table, protocol=protocol)
    assert [len(table.samples(DEVICE, [subject])[subject]) for subject in noisy] == [num_samples] * num_noisy
    assert len(backend.prepared) == len(set(backend.prepared))  # the second chance exports nothing again


@pytest.mark.parametrize("deriving", [[KeyboardInterrupt], [None, KeyboardInterrupt]])
def test_a_campaign_killed_before_or_after_its_second_chance_has_one(
    sqlite_engine: Engine,
    small_specs: tuple[BlockSpec, ...],
    quick_protocol: Protocol,
    monkeypatch: pytest.MonkeyPatch,
    deriving: list[Any],
) -> None:
    table, subjects = LatencyTable(sqlite_engine), list(map(Subject.of_block, small_specs))
    (noisy,) = add_noisy_samples(table, subjects[:1])
    with monkeypatch.context() as context:
        context.setattr(table, "settle", Mock(side_effect=deriving))
        with pytest.raises(KeyboardInterrupt):
            run_campaign(subjects, ExactBackend(), table, protocol=quick_protocol)
    assert table.unsettled(DEVICE, "block") == set(subjects)
    for _ in range(2):
        run_campaign(subjects, ExactBackend(), table, protocol=quick_protocol)
        assert len(table.samples(DEVICE, [noisy])[noisy]) == 8
        assert table.unsettled(DEVICE, "block") == set()
