import dataclasses

from sqlalchemy import Engine

from profilers.device import Device
from profilers.latency_table import LatencyTable
from profilers.load_report import LoadReport, describe, summary_of
from profilers.subject import Subject
from search_space.specs import BlockSpec

COLD = LoadReport(load_ms=8.5, first_run_ms=1 / 3, peak_memory_mib=12.25, placement={"CPUExecutionProvider": 12})
WARM = LoadReport(load_ms=2.5, first_run_ms=0.1, peak_memory_mib=None, placement=None)


def test_a_report_comes_back_from_json() -> None:
    assert LoadReport.from_json(COLD.to_json()) == COLD
    assert LoadReport.from_json(WARM.to_json()) == WARM


def test_the_first_report_of_a_subject_is_kept(
    engine: Engine, device: Device, small_specs: tuple[BlockSpec, ...]
) -> None:
    table, subject = LatencyTable(engine), Subject.of_block(small_specs[0])
    table.add_device(device)
    table.add_load_reports(device, {subject: COLD})
    table.add_load_reports(device, {subject: WARM})
    assert table.load_reports(device, [subject]) == {subject: COLD}


def test_a_summary_takes_medians_and_sums_nodes() -> None:
    assert summary_of([]) is None
    assert summary_of([COLD, COLD, WARM]) == {
        "num_subjects": 3,
        "median_load_ms": 8.5,
        "median_first_run_ms": 1 / 3,
        "max_peak_memory_mib": 12.25,
        "nodes_by_provider": {"CPUExecutionProvider": 24},
        "placement": {"CPUExecutionProvider": 24},
    }
    placed = dataclasses.replace(WARM, placement={"neural_engine conv": 5, "neural_engine softmax": 1, "cpu gather": 2})
    summary = summary_of([placed]) or {}
    assert summary["nodes_by_provider"] == {"neural_engine": 6, "cpu": 2}
    assert summary["placement"] == placed.placement
    assert summary_of([WARM]) == {
        "num_subjects": 1,
        "median_load_ms": 2.5,
        "median_first_run_ms": 0.1,
        "max_peak_memory_mib": None,
        "nodes_by_provider": None,
        "placement": None,
    }


def test_one_line_says_how_long_and_where() -> None:
    placed = dataclasses.replace(WARM, placement={"cpu gather": 2, "neural_engine conv": 5, "neural_engine softmax": 1})
    assert describe([placed]) == (
        "loading: 2.5 ms, then a first run of 0.1 ms (medians of 1); nodes: neural_engine 6, cpu 2"
    )
    assert describe([WARM]).endswith("(medians of 1)")
    assert describe([]) == ""
