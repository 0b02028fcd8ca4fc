import contextlib
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy
import pytest
from sqlalchemy import Engine

from profilers.backends.abstract import AbstractBackend
from profilers.backends.exact import ExactBackend
from profilers.budgeted import measure_within
from profilers.campaign import run_campaign
from profilers.check import CheckOptions
from profilers.check_report import CheckReport, json_document, markdown, text
from profilers.checking import check_space, measure_networks
from profilers.correction import GROUPS
from profilers.device import Device
from profilers.latency_table import LatencyTable
from profilers.measurement import Measurement
from profilers.measuring import measure_space
from profilers.noise_floor import agreement_within_noise, noise_floor_percent
from profilers.protocol import Protocol
from profilers.storage import open_engine
from profilers.subject import Subject
from search_space.arch import ArchConfig
from search_space.errors import SnapNASError, UsageError
from search_space.space import distinct_archs
from search_space.spaces import search_space
from search_space.specs import BlockSpec
from search_space.walk import block_specs
from tests.profilers.moved_rows import move_rows


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return open_engine(f"sqlite:///{tmp_path_factory.mktemp('check') / 'table.db'}")


@pytest.fixture(scope="module")
def report(engine: Engine) -> CheckReport:
    protocol = Protocol(min_rounds=3, max_rounds=4, num_calibration_probes=3)
    return check_space(search_space("tiny"), "exact", engine, num_networks=12, protocol=protocol)


def test_a_device_that_adds_up_is_predicted_without_error(report: CheckReport) -> None:
    plain = report.agreements[0]
    assert plain.mape_percent == pytest.approx(0, abs=1e-6)
    assert (plain.within_5_percent, plain.spearman, plain.kendall) == pytest.approx((1, 1, 1))
    assert report.noise_floor_percent == pytest.approx(0, abs=1e-6)


def test_baselines_stand_beside_and_are_worse(report: CheckReport) -> None:
    plain, _, _, macs_line, params_line, _ = report.agreements
    assert plain.mape_percent < macs_line.mape_percent < params_line.mape_percent


def test_the_correction_is_stored_with_its_card(report: CheckReport, engine: Engine) -> None:
    assert LatencyTable(engine).corrections(ExactBackend().device) == {"tiny": report.correction}
    assert list(report.correction.scales.values()) == pytest.approx([1] * len(GROUPS))
    assert report.correction.overhead_ms == pytest.approx(0, abs=1e-9)
    assert report.correction.num_networks == len(report.measured_ms) == 12


def test_a_second_check_does_not_correct_twice(report: CheckReport, engine: Engine) -> None:
    protocol = Protocol(min_rounds=3, max_rounds=4, num_calibration_probes=3)
    again = check_space(search_space("tiny"), "exact", engine, num_networks=6, seed=100, protocol=protocol)
    assert again.correction.scales == pytest.approx(report.correction.scales)
    assert again.estimated_ms == pytest.approx(again.measured_ms)


def test_a_fit_on_some_networks_is_judged_on_the_others(engine: Engine) -> None:
    protocol = Protocol(min_rounds=3, max_rounds=4, num_calibration_probes=3)
    report = check_space(search_space("tiny"), "exact", engine, num_networks=12, num_fit=8, protocol=protocol)
    assert (report.correction.num_networks, report.correction.num_judges) == (8, 4)
    assert report.correction.judged_on == "unseen networks"
    assert "Fitted on 8 networks, judged on 4 (unseen networks)" in text(report)


def test_blocks_that_no_time_was_left_for_are_guessed(sqlite_engine: Engine) -> None:
    protocol = Protocol(min_rounds=3, max_rounds=4, num_calibration_probes=3)
    report = check_space(search_space("tiny"), "exact", sqlite_engine, num_networks=12, budget_s=0, protocol=protocol)
    assert 0 < report.correction.num_guessed < report.num_blocks
    assert f"{report.correction.num_guessed} of their {report.num_blocks} distinct blocks were guessed" in text(report)
    assert 0.1 < report.agreements[0].mape_percent < 10
    table, device = LatencyTable(sqlite_engine), ExactBackend().device
    assert table.corrections(device) == {}
    assert table.corrections(device, interpolate=True) == {"tiny": report.correction}


def test_a_device_that_is_not_here_is_judged_by_what_it_measured(
    sqlite_engine: Engine, absent_device: Device, quick_protocol: Protocol
) -> None:
    space, table = search_space("tiny"), LatencyTable(sqlite_engine)
    measure_space(space, "exact", sqlite_engine, protocol=quick_protocol)
    measure_networks(distinct_archs(space, 8, seed=0), "exact", table, protocol=quick_protocol)
    move_rows(sqlite_engine, absent_device, kind="block")
    move_rows(sqlite_engine, absent_device, kind="network")
    report = check_space(space, absent_device.name, sqlite_engine, num_networks=8, num_fit=5)
    assert (report.device, report.is_here, len(report.measured_ms)) == (absent_device, False, 8)
    assert report.agreements[0].mape_percent == pytest.approx(0, abs=1e-6)
    assert table.corrections(absent_device) == {"tiny": report.correction}
    page = markdown(report, command="")
    assert "measured itself elsewhere" in page
    assert "load average" not in page
    with pytest.raises(UsageError, match=r"9 networks(.|\n)*allowed: 8(.|\n)*--networks 9"):
        check_space(space, absent_device.name, sqlite_engine, num_networks=9)
    for option, given in (
        ("--budget", {"budget_s": 1}),
        ("--max-rounds", {"protocol": quick_protocol}),
        ("--seed", {"seed": 1}),
    ):
        with pytest.raises(UsageError, match=f"{option} was given for browser-pixel-8, which is not here"):
            check_space(space, absent_device.name, sqlite_engine, num_networks=8, **given)


def test_with_interpolate_no_block_is_measured(sqlite_engine: Engine, quick_protocol: Protocol) -> None:
    space, table = search_space("tiny"), LatencyTable(sqlite_engine)
    measure_within(space, "exact", sqlite_engine, budget_s=0, protocol=quick_protocol)
    before = table.blocks(ExactBackend().device)
    report = check_space(space, "exact", sqlite_engine, num_networks=8, interpolate=True, protocol=quick_protocol)
    assert 0 < report.correction.num_guessed < report.num_blocks
    assert table.blocks(ExactBackend().device) == before


@pytest.mark.parametrize("num_broken", [1, 2])
def test_one_network_in_ten_may_fail(engine: Engine, monkeypatch: pytest.MonkeyPatch, num_broken: int) -> None:
    def run(subjects: list[Subject], backend: AbstractBackend, table: LatencyTable, **options: Any) -> None:
        run_campaign(subjects, backend, table, **options)
        for subject in subjects[:num_broken]:
            table.fail(backend.device, subject, reason="it hung")

    monkeypatch.setattr("profilers.checking.run_campaign", run)
    space, protocol = search_space("tiny"), Protocol(min_rounds=3, max_rounds=4, num_calibration_probes=3)
    if num_broken == 1:
        report = check_space(space, "exact", engine, num_networks=12, num_fit=8, protocol=protocol)
        assert (report.correction.num_networks, report.correction.num_judges) == (8, 3)
        assert len(report.measured_ms) == len(report.estimated_ms) == 11
    else:
        with pytest.raises(SnapNASError, match="exact could not run 2 of 12 networks: it hung"):
            check_space(space, "exact", engine, num_networks=12, num_fit=8, protocol=protocol)


def test_a_network_with_a_block_that_failed_is_left_out(
    report: CheckReport, engine: Engine, quick_protocol: Protocol, caplog: pytest.LogCaptureFixture
) -> None:
    space, table, device = search_space("tiny"), LatencyTable(engine), report.device
    archs = distinct_archs(space, 12, seed=0)
    broken = Subject.of_block(block_of_one_only(archs, 0))
    table.fail(device, broken, reason="needs 9 GiB", status="does_not_fit")
    without = check_space(space, "exact", engine, num_networks=12, protocol=quick_protocol)
    assert len(without.measured_ms) == len(without.estimated_ms) == 11
    assert "1 of 12 networks have a block that exact could not run, and are left out: needs 9 GiB" in caplog.text
    table.finish(device, [broken])


def test_too_many_networks_with_a_block_that_failed_end_a_check_before_any_is_measured(sqlite_engine: Engine) -> None:
    space, table, device = search_space("tiny"), LatencyTable(sqlite_engine), ExactBackend().device
    archs = distinct_archs(space, 12, seed=0)
    table.add_device(device)
    for index in range(2):
        table.fail(device, Subject.of_block(block_of_one_only(archs, index)), reason="it hung")
    with pytest.raises(SnapNASError, match=r"2 of 12 networks(.|\n)*at least 11 without(.|\n)*--device exact --again"):
        check_space(space, "exact", sqlite_engine, num_networks=12, interpolate=True)
    assert not table.networks(device)


def block_of_one_only(archs: Sequence[ArchConfig], index: int) -> BlockSpec:
    """A block of one of the networks that no other of them has."""
    others = {spec for arch in archs if arch != archs[index] for spec in block_specs(arch)}
    return next(spec for spec in block_specs(archs[index]) if spec not in others)


def test_a_killed_check_goes_on_and_a_finished_one_starts_anew(
    sqlite_engine: Engine, quick_protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, device = LatencyTable(sqlite_engine), ExactBackend().device
    archs = distinct_archs(search_space("tiny"), 4, seed=0)
    subjects = list(map(Subject.of_network, archs))

    def moments_after_measuring(num_networks: int, *, is_killed: bool = False) -> list[list[float]]:
        """When the samples of every network were taken. It is killed when all have enough of them."""
        with monkeypatch.context() as context, contextlib.suppress(KeyboardInterrupt):
            if is_killed:
                context.setattr(table, "settle", Mock(side_effect=KeyboardInterrupt))
            measure_networks(archs[:num_networks], "exact", table, protocol=quick_protocol)
        samples = table.samples(device, subjects)
        return [[sample.taken_at for sample in samples.get(subject, ())] for subject in subjects]

    killed = moments_after_measuring(2, is_killed=True)
    assert moments_after_measuring(2) == killed
    anew = moments_after_measuring(2, is_killed=True)
    assert not set(anew[0]) & set(killed[0])
    finished = moments_after_measuring(4)
    assert finished[:2] == anew[:2]

    killed = moments_after_measuring(2, is_killed=True)
    assert not set(killed[0]) & set(finished[0])
    together = moments_after_measuring(4)
    assert together[:2] == killed[:2]
    assert not set(together[2]) & set(finished[2])  # of a check that had come to its end before


def test_a_network_that_failed_in_a_killed_check_is_tried_by_the_next_one(
    sqlite_engine: Engine, quick_protocol: Protocol
) -> None:
    table, device = LatencyTable(sqlite_engine), ExactBackend().device
    archs = distinct_archs(search_space("tiny"), 12, seed=0)
    table.add_device(device)
    table.fail(device, Subject.of_network(archs[0]), reason="it hung, and then the check was killed")
    assert len(measure_networks(archs, "exact", table, protocol=quick_protocol)) == 11
    assert len(measure_networks(archs, "exact", table, protocol=quick_protocol)) == 12


def test_the_page_has_command_hardware_and_date(report: CheckReport) -> None:
    page = markdown(report, command="python -m profilers.check --device exact")
    for needed in (
        "python -m profilers.check",
        "hardware: none",
        "date: 20",
        "Kendall",
        "line over macs",
    ):
        assert needed in page
    assert page.count("\n|") > 12


def test_an_estimate_is_called_so_and_not_measured(report: CheckReport) -> None:
    assert report.device.is_estimate
    page = markdown(report, command="")
    assert "Every millisecond is an estimate: exact is a formula, and nothing was measured." in page
    assert "| estimate of the whole ms |" in page
    assert "noise floor" not in page
    measured = dataclasses.replace(report, device=dataclasses.replace(report.device, is_estimate=False))
    page = markdown(measured, command="")
    assert "estimate" not in page
    assert "| measured ms |" in page
    assert "noise floor" in page


def test_the_document_is_strict_json(report: CheckReport) -> None:
    document = json.loads(json.dumps(json_document(report), allow_nan=False))
    assert document["device_id"] == report.device.device_id


def test_noise_floor_is_the_difference_of_two_halves() -> None:
    assert noise_floor_percent([Measurement(samples_ms=(1.1, 1.0, 1.1, 1.0))]) == pytest.approx(10)


def test_a_table_without_error_is_only_as_good_as_the_networks_are_known() -> None:
    spread, num_samples = 0.05, 101
    generator = numpy.random.default_rng(0)
    latencies_ms = numpy.linspace(100, 200, 60)
    samples_ms = latencies_ms[:, None] * numpy.exp(spread * generator.standard_normal((60, num_samples)))
    found = agreement_within_noise([Measurement(samples_ms=tuple(row)) for row in samples_ms.tolist()])
    median_error = math.sqrt(math.pi / 2 / num_samples) * spread  # of a normal distribution's median
    assert found.mape_percent == pytest.approx(100 * math.sqrt(2 / math.pi) * median_error, rel=0.1)
    assert found.within_5_percent == 1
    assert 0.99 < found.spearman < 1


def test_a_table_without_error_meets_networks_without_noise_exactly(report: CheckReport) -> None:
    *_, without_error = report.agreements
    assert without_error.name == "a table without error"
    assert without_error.mape_percent == pytest.approx(0, abs=1e-6)
    assert without_error.spearman == pytest.approx(1)


def test_a_correction_from_a_busy_machine_is_not_believed(report: CheckReport) -> None:
    assert report.is_quiet
    busy = dataclasses.replace(report, noise_floor_percent=14.0)
    assert not busy.is_quiet
    assert "not stored" in text(busy)


def test_too_few_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 5"):
        CheckOptions(networks=2)
    with pytest.raises(UsageError, match="left to judge"):
        CheckOptions(networks=12, fit=11)


def test_a_budget_guesses_anyway() -> None:
    with pytest.raises(UsageError, match="one of them"):
        CheckOptions(budget="10m", interpolate=True)
