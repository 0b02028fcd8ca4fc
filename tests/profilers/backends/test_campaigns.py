"""A small campaign on every runtime that this machine has: a process that measures, rows, and what loading said."""

import sys

import pytest
from sqlalchemy import Engine

from profilers.backends.abstract import DeviceUnavailableError
from profilers.backends.registry import open_backend
from profilers.campaign import run_campaign
from profilers.latency_table import LatencyTable
from profilers.protocol import Protocol
from profilers.subject import Subject
from search_space.specs import ConvSpec

DEVICES = {
    "host-onnxruntime": {"CPUExecutionProvider"},
    "host-onnxruntime:precision=int8": {"CPUExecutionProvider"},
    "host-openvino": None,
    "host-executorch": {"XNNPACK", "portable"},
    "host-torch": None,
    "chromium": None,
}
"""A device, and who may take its nodes where the runtime tells."""

LARGE = ConvSpec(in_channels=512, out_channels=512, size=8)
"""Nine megabytes of weights, two in eight bits."""

SPECS = [ConvSpec(in_channels=4, out_channels=4, size=8), LARGE]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", DEVICES)
def test_a_campaign_leaves_rows_and_says_what_loading_took(name: str, sqlite_engine: Engine) -> None:
    try:
        backend = open_backend(name)
        device = backend.device
    except DeviceUnavailableError as error:
        pytest.skip(str(error))
    table, subjects = LatencyTable(sqlite_engine), list(map(Subject.of_block, SPECS))
    protocol = Protocol(min_rounds=2, max_rounds=2, num_calibration_probes=2, sentinel_every=2)
    run_campaign(subjects, backend, table, protocol=protocol)

    assert len(table.coverage(SPECS, device).known) == len(SPECS)
    for samples in table.samples(device, subjects).values():
        assert len(samples) >= protocol.min_rounds
        assert all(0 < sample.raw_ms < 1000 for sample in samples)
    reports = table.load_reports(device, subjects)
    assert set(reports) == set(subjects)
    for report in reports.values():
        assert min(report.load_ms, report.first_run_ms) > 0
        assert (report.placement and set(report.placement)) == DEVICES[name]
        assert report.placement is None or sum(report.placement.values()) > 0
    if sys.platform == "linux" and name != "chromium":  # with which the browser grows instead
        assert reports[Subject.of_block(LARGE)].peak_memory_mib > 1  # type: ignore[operator]
