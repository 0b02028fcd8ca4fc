import dataclasses

import pytest
from sqlalchemy import Engine

from profilers.backends.exact import ExactBackend
from profilers.coverage_report import HOLDINGS, coverage_document, coverage_lines, device_coverages
from profilers.device import Device
from profilers.environment import record_environment
from profilers.latency_table import LatencyTable
from profilers.load_report import LoadReport
from profilers.measurement import Sample
from profilers.subject import Subject
from search_space.errors import UsageError
from search_space.specs import BlockSpec, NormOutSpec, spec_key


def measure(table: LatencyTable, device: Device, spec: BlockSpec, *raw_ms: float) -> None:
    table.add_device(device)
    samples = [
        Sample(raw_ms=value, num_runs=3, drift=1.0, round_index=i, position=0, taken_at=1.7e9, is_flagged=False)
        for i, value in enumerate(raw_ms)
    ]
    campaign_id = table.start_campaign(device, protocol="{}", environment=record_environment())
    table.add_samples(device, {Subject.of_block(spec): samples}, campaign_id=campaign_id)
    table.finish(device, [Subject.of_block(spec)])


def test_every_block_is_in_one_group_and_another_version_makes_it_stale(
    engine: Engine, small_specs: tuple[BlockSpec, ...]
) -> None:
    table, now = LatencyTable(engine), ExactBackend().device
    before = dataclasses.replace(now, runtime="exact 0")
    steady, shaky, broken, absent = small_specs
    stale = NormOutSpec(channels=8, size=32, norm_groups=4)
    specs = (*small_specs, stale)
    measure(table, now, steady, *[1.0] * 6)
    measure(table, now, shaky, 1.0, 2.0, 3.0)
    table.fail(now, Subject.of_block(broken), reason="no such operator")
    measure(table, before, stale, *[1.0] * 6)
    measure(table, before, steady, *[9.0] * 6)
    table.fail(before, Subject.of_block(absent), reason="no such operator")

    (coverage,) = device_coverages(specs, table, space_name="small", device_name="exact")
    assert (coverage.device, coverage.is_here) == (now, True)
    assert dict(coverage.holdings) == {
        steady: "present",
        shaky: "unstable",
        broken: "failed",
        absent: "missing",
        stale: "stale",
    }
    (version,) = coverage.other_versions
    assert (version.device, version.num_finished) == (before, 2)
    assert version.differences == ("runtime exact 0, not exact 1",)
    lines = coverage_lines(coverage)
    assert "its rows never mix with these" in lines[1]
    assert lines[2] == "fix: python -m profilers.measure --space small --device exact"

    document = coverage_document(coverage)
    assert document["counts"] == dict.fromkeys(HOLDINGS, 1) | {"does_not_fit": 0}
    assert document["specs"]["missing"] == [spec_key(absent)]
    assert document["specs"]["stale"] == [spec_key(stale)]
    assert document["num_specs"] == 5


def test_what_a_bundle_told_of_loading_is_shown(
    engine: Engine, absent_device: Device, small_specs: tuple[BlockSpec, ...]
) -> None:
    table = LatencyTable(engine)
    measure(table, absent_device, small_specs[0], *[1.0] * 6)
    (coverage,) = device_coverages(small_specs, table, space_name="small", device_name=absent_device.name)
    assert "loading" not in " ".join(coverage_lines(coverage))
    placement = {"neural_engine conv": 5, "cpu gather": 2}
    report = LoadReport(load_ms=40.0, first_run_ms=3.0, peak_memory_mib=None, placement=placement)
    table.add_load_reports(absent_device, {Subject.of_block(small_specs[0]): report})
    (coverage,) = device_coverages(small_specs, table, space_name="small", device_name=absent_device.name)
    assert "loading: 40 ms" in coverage_lines(coverage)[1]
    assert coverage_document(coverage)["loading"]["placement"] == placement


def test_a_block_that_does_not_fit_is_a_group_of_its_own(engine: Engine, small_specs: tuple[BlockSpec, ...]) -> None:
    table, device = LatencyTable(engine), ExactBackend().device
    table.add_device(device)
    table.fail(device, Subject.of_block(small_specs[0]), reason="needs 9 GiB", status="does_not_fit")
    (coverage,) = device_coverages(small_specs, table, space_name="small")
    assert coverage.specs("does_not_fit") == small_specs[:1]
    assert coverage.specs("missing") == small_specs[1:]


def test_a_device_that_is_elsewhere_is_reported_version_by_version(
    engine: Engine, device: Device, small_specs: tuple[BlockSpec, ...]
) -> None:
    table, newer = LatencyTable(engine), dataclasses.replace(device, runtime="none 2")
    measure(table, device, small_specs[0], *[1.0] * 6)
    measure(table, newer, small_specs[1], *[1.0] * 6)
    coverages = device_coverages(small_specs, table, space_name="small", device_name="test")
    assert {coverage.device for coverage in coverages} == {device, newer}
    for coverage in coverages:
        assert not coverage.is_here
        assert len(coverage.specs("present")) == len(coverage.specs("stale")) == 1
        assert "not on this machine" in coverage_lines(coverage)[0]
        assert not coverage_lines(coverage)[-1].startswith("fix")


def test_a_version_of_a_device_that_is_here_is_reported_by_its_id(
    engine: Engine, small_specs: tuple[BlockSpec, ...]
) -> None:
    table, now = LatencyTable(engine), ExactBackend().device
    before = dataclasses.replace(now, runtime="exact 0")
    measure(table, now, small_specs[0], *[1.0] * 6)
    measure(table, before, small_specs[1], *[1.0] * 6)
    for device, other, is_here in ((before, now, False), (now, before, True)):
        (coverage,) = device_coverages(small_specs, table, space_name="small", device_name=device.device_id)
        assert (coverage.device, coverage.is_here) == (device, is_here)
        assert [version.device for version in coverage.other_versions] == [other]


def test_all_devices_of_the_table_are_reported(
    engine: Engine, device: Device, small_specs: tuple[BlockSpec, ...]
) -> None:
    table = LatencyTable(engine)
    assert device_coverages(small_specs, table, space_name="small") == ()
    measure(table, device, small_specs[0], 1.0, 1.0)
    measure(table, ExactBackend().device, small_specs[0], 1.0, 1.0)
    assert [each.device.name for each in device_coverages(small_specs, table, space_name="small")] == ["exact", "test"]


def test_a_device_that_nobody_knows_is_refused(engine: Engine, small_specs: tuple[BlockSpec, ...]) -> None:
    with pytest.raises(UsageError, match="unknown device 'exat'"):
        device_coverages(small_specs, LatencyTable(engine), space_name="small", device_name="exat")
