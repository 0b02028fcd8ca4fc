from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import Engine

from profilers.backends.registry import open_backend
from profilers.campaign import run_campaign
from profilers.latency_table import LatencyTable
from profilers.load_report import LoadReport
from profilers.preparing import Outcome
from profilers.protocol import Protocol
from profilers.sentinel import SENTINEL
from profilers.subject import Subject
from profilers.worker_client import SubjectError, Worker
from profilers.yardstick import YARDSTICK, is_due, slowness
from search_space.errors import SnapNASError
from search_space.space import random_arch
from search_space.spaces import search_space

NETWORKS = [Subject.of_network(random_arch(search_space("tiny"), seed)) for seed in range(2)]
BACKEND = open_backend("host-onnxruntime")


class PretendWorker(Worker):
    """Every subject has a latency of its own; networks are slower by a factor that the sentinel does not see."""

    network_factor = 1.0
    is_yardstick_broken = False
    num_yardstick_processes = 0

    def load(self, subject: Subject, *, slot: int, path: Path) -> tuple[int, LoadReport]:
        if subject == YARDSTICK and self.is_yardstick_broken:
            raise SubjectError("broken")
        PretendWorker.num_yardstick_processes += subject == YARDSTICK
        self.subjects = {**getattr(self, "subjects", {}), slot: subject}
        return 1, LoadReport(load_ms=1, first_run_ms=1, peak_memory_mib=None, placement={})

    def sample(self, slot: int) -> tuple[float, float]:
        subject = self.subjects[slot]
        ms = {SENTINEL: 0.5, YARDSTICK: 5.0, NETWORKS[0]: 7.0, NETWORKS[1]: 9.0}[subject]
        return ms * (self.network_factor if subject.kind == "network" else 1.0), 0.0


def prepare_nothing(paths: Mapping[Subject, Path], *_: object, **__: object) -> Iterator[Outcome]:
    return ((subject, None) for subject in paths)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> type[PretendWorker]:
    monkeypatch.setattr("profilers.subject_group.Worker", PretendWorker)
    monkeypatch.setattr("profilers.subject_group.prepare_all", prepare_nothing)
    monkeypatch.setattr(PretendWorker, "network_factor", 1.0)
    monkeypatch.setattr(PretendWorker, "is_yardstick_broken", False)
    monkeypatch.setattr(PretendWorker, "num_yardstick_processes", 0)
    return PretendWorker


def medians_ms(table: LatencyTable, protocol: Protocol) -> list[float]:
    table.forget(BACKEND.device, NETWORKS)
    run_campaign(NETWORKS, BACKEND, table, protocol=protocol)
    records = table.records(BACKEND.device, NETWORKS)
    return [records[network].median_ms for network in NETWORKS]


def test_what_slows_networks_and_not_the_sentinel_is_divided_out(
    sqlite_engine: Engine, quick_protocol: Protocol, worker: type[PretendWorker]
) -> None:
    table = LatencyTable(sqlite_engine)
    assert medians_ms(table, quick_protocol) == pytest.approx([7.0, 9.0])
    assert table.records(BACKEND.device, [YARDSTICK])[YARDSTICK].median_ms == pytest.approx(5.0)
    worker.network_factor = 1.3
    assert medians_ms(table, quick_protocol) == pytest.approx([7.0, 9.0])
    assert table.records(BACKEND.device, [YARDSTICK])[YARDSTICK].median_ms == pytest.approx(5.0)


def test_a_steady_yardstick_has_all_its_samples_too_and_from_several_processes(
    sqlite_engine: Engine, worker: type[PretendWorker]
) -> None:
    table, protocol = LatencyTable(sqlite_engine), Protocol(min_rounds=3, max_rounds=4, num_calibration_probes=9)
    run_campaign(NETWORKS[:1], BACKEND, table, protocol=protocol)
    assert len(table.samples(BACKEND.device, [YARDSTICK])[YARDSTICK]) == 9
    assert worker.num_yardstick_processes > 2


def test_a_device_that_cannot_run_the_yardstick_does_without_until_it_can(
    sqlite_engine: Engine, quick_protocol: Protocol, worker: type[PretendWorker]
) -> None:
    worker.is_yardstick_broken = True
    table = LatencyTable(sqlite_engine)
    assert medians_ms(table, quick_protocol) == pytest.approx([7.0, 9.0])
    assert table.records(BACKEND.device, [YARDSTICK])[YARDSTICK].reason == "broken"
    worker.is_yardstick_broken = False
    assert medians_ms(table, quick_protocol) == pytest.approx([7.0, 9.0])
    yardstick = table.records(BACKEND.device, [YARDSTICK])[YARDSTICK]
    assert yardstick.status == "measured"
    assert yardstick.median_ms == pytest.approx(5.0)


def test_a_yardstick_that_cannot_be_exported_once_is_no_failed_row(
    sqlite_engine: Engine, quick_protocol: Protocol, worker: type[PretendWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = LatencyTable(sqlite_engine)
    medians_ms(table, quick_protocol)
    before = table.records(BACKEND.device, [YARDSTICK])
    with monkeypatch.context() as context:
        context.setattr("profilers.subject_group.prepare_all", lambda *_, **__: [(YARDSTICK, "killed by SIGKILL")])
        with pytest.raises(SnapNASError, match="everything is compared with: killed by SIGKILL"):
            medians_ms(table, quick_protocol)
    assert table.records(BACKEND.device, [YARDSTICK]) == before
    assert medians_ms(table, quick_protocol) == pytest.approx([7.0, 9.0])


def test_blocks_and_formulas_have_no_yardstick(sqlite_engine: Engine, quick_protocol: Protocol) -> None:
    table, exact = LatencyTable(sqlite_engine), open_backend("exact")
    run_campaign(NETWORKS, exact, table, protocol=quick_protocol)
    run_campaign([SENTINEL], BACKEND, table, protocol=quick_protocol)
    assert table.records(exact.device, [YARDSTICK]) == table.records(BACKEND.device, [YARDSTICK]) == {}


@pytest.mark.parametrize(("num_networks", "num_due"), [(1, 1), (5, 5), (8, 8), (9, 5), (20, 7), (120, 8)])
def test_looks_are_spread_over_a_round(num_networks: int, num_due: int) -> None:
    due = [position for position in range(num_networks) if is_due(position, num_networks, 8)]
    assert (len(due), due[0]) == (num_due, 0)


def test_slowness_is_what_is_left_beside_the_sentinel() -> None:
    assert slowness([10.0, 10.0, 13.0], yardstick_ms=5.0, sentinel_ms=0.5) == pytest.approx(1.0)
    assert slowness([12.0], yardstick_ms=5.0, sentinel_ms=0.5) == pytest.approx(1.2)
