"""What the last line of the report says, of rows that were looked at and of those that could not be."""

import dataclasses

from profilers.anomalies import MeasuredBlock
from profilers.anomaly_report import anomaly_document, anomaly_summary
from profilers.coverage_report import DeviceCoverage, OtherVersion
from profilers.device import Device
from search_space.specs import NormOutSpec


def coverage_of(device: Device, *others: OtherVersion) -> DeviceCoverage:
    return DeviceCoverage(space="tiny", device=device, is_here=True, holdings={}, other_versions=others)


def rows_with(*nums_samples: int) -> list[MeasuredBlock]:
    """One row for each number of samples, all of which took as long."""
    return [
        MeasuredBlock(
            spec=NormOutSpec(channels=8, size=size, norm_groups=4),
            median_ms=1.0,
            low_ms=1.0,
            high_ms=1.0,
            samples_ms=(1.0,) * num_samples,
        )
        for size, num_samples in enumerate(nums_samples, start=4)
    ]


def test_rows_with_too_few_samples_for_two_modes_are_counted(device: Device) -> None:
    rows, coverage = rows_with(8, 11, 12, 50), coverage_of(device)
    summary = anomaly_summary([], rows, coverage)
    assert summary.startswith(f"4 rows of tiny on test ({device.device_id}): nothing strange")
    assert summary.endswith("; 2 rows have too few samples to show two modes")
    assert anomaly_document([], rows, coverage)["num_too_short_for_two_modes"] == 2
    assert "too few samples" not in anomaly_summary([], rows_with(12, 50), coverage)


def test_a_formula_has_one_mode_with_any_number_of_samples(device: Device) -> None:
    coverage = coverage_of(dataclasses.replace(device, is_estimate=True))
    summary = anomaly_summary([], rows_with(2, 2), coverage)
    assert summary.endswith("nothing strange")
    assert ", an estimate)" in summary


def test_without_rows_nothing_is_judged_and_the_versions_that_have_some_are_named(device: Device) -> None:
    older, empty = (dataclasses.replace(device, runtime=f"none {version}") for version in (0, 2))
    others = [
        OtherVersion(device=older, differences=(), num_finished=7),
        OtherVersion(device=empty, differences=(), num_finished=0),
    ]
    summary = anomaly_summary([], [], coverage_of(device, *others))
    assert summary == (f"no rows of tiny on test ({device.device_id}); another version, {older.device_id}, holds 7")
