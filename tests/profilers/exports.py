"""Latency exports for the tests of the exchange: any that hypothesis can think of, and a small one to damage."""

import dataclasses
import json

from hypothesis import strategies as st

from profilers.device import Device
from profilers.exchange_records import CampaignLine, DeviceLine, LatencyExport, RowLine, SampleLine
from profilers.load_report import LoadReport
from profilers.subject import Subject
from search_space.space import random_arch, reachable_specs
from search_space.spaces import search_space

TINY = search_space("tiny")
SUBJECTS = [Subject.of_block(spec) for spec in reachable_specs(TINY)[::40]]
SUBJECTS += [Subject.of_network(random_arch(TINY, seed)) for seed in range(3)]

FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "'=1", "''", '=HYPERLINK("http://a.example")')
texts = st.sampled_from(FORMULAS) | st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=20)
reasons = st.text(st.characters(exclude_categories=["C"]) | st.sampled_from("\t\r\n"), max_size=30)
reasons = reasons | st.sampled_from(["", "\tcell", "\r=1", "\n@", *FORMULAS])
milliseconds = st.floats(min_value=1e-9, max_value=1e9)
whole = st.integers(min_value=0, max_value=2**31 - 1)
timestamps = st.sampled_from(["2026-01-01T00:00:00+00:00", "2026-12-31T23:59:59+00:00"])
load_reports = st.builds(
    LoadReport,
    load_ms=milliseconds,
    first_run_ms=milliseconds,
    peak_memory_mib=st.none() | milliseconds,
    placement=st.none() | st.dictionaries(texts, whole, max_size=2),
).map(LoadReport.to_json)
devices = st.builds(
    Device,
    name=texts,
    backend=texts,
    hardware=texts,
    operating_system=texts,
    runtime=texts,
    precision=texts,
    threads=st.integers(min_value=1, max_value=64),
    is_estimate=st.booleans(),
)


@st.composite
def latency_exports(draw: st.DrawFn) -> LatencyExport:
    """One or two devices with a few rows, campaigns and samples each."""
    exports = [draw(_device_exports(device)) for device in draw(st.lists(devices, min_size=1, max_size=2, unique=True))]
    fields = ("devices", "campaigns", "rows", "samples")
    return LatencyExport(**{name: tuple(line for each in exports for line in getattr(each, name)) for name in fields})


@st.composite
def _device_exports(draw: st.DrawFn, device: Device) -> LatencyExport:
    device_id = device.device_id
    num_campaigns = draw(st.integers(min_value=1, max_value=3))
    facts = json.dumps({"load": draw(milliseconds), "kernel": draw(texts), "versions": {"=a": draw(texts)}, "n": None})
    campaigns = tuple(
        CampaignLine(
            device_id=device_id,
            campaign=number,
            protocol='{"seed":0}',
            environment_before=facts,
            environment_after=draw(st.sampled_from([None, facts])),
        )
        for number in range(1, num_campaigns + 1)
    )
    rows, samples = [], []
    for subject in draw(st.lists(st.sampled_from(SUBJECTS), max_size=4, unique=True)):
        row = draw(_rows(device_id, subject))
        rows.append(row)
        num_samples = draw(st.integers(min_value=1 if row.has_latency else 0, max_value=4))
        samples += [draw(_samples(row, num_campaigns)) for _ in range(num_samples)]
    sentinel_ms = draw(milliseconds) if samples else draw(st.none() | milliseconds)
    line = DeviceLine(device_id=device_id, document=device.to_json(), sentinel_ms=sentinel_ms)
    return LatencyExport(devices=(line,), campaigns=campaigns, rows=tuple(rows), samples=tuple(samples))


@st.composite
def _rows(draw: st.DrawFn, device_id: str, subject: Subject) -> RowLine:
    status = draw(st.sampled_from(["sampling", "measured", "unstable", "failed", "does_not_fit"]))
    return RowLine(
        device_id=device_id,
        subject_id=subject.subject_id,
        kind=subject.kind,
        text=subject.text,
        status=status,  # type: ignore[arg-type]
        reason=draw(reasons) if status in ("failed", "does_not_fit") else None,
        load_report=draw(st.none() | load_reports),
        finished_at=None if status == "sampling" else draw(timestamps),
    )


def _samples(row: RowLine, num_campaigns: int) -> st.SearchStrategy[SampleLine]:
    return st.builds(
        SampleLine,
        device_id=st.just(row.device_id),
        subject_id=st.just(row.subject_id),
        campaign=st.integers(min_value=1, max_value=num_campaigns),
        raw_ms=milliseconds,
        num_runs=st.integers(min_value=1, max_value=2**31 - 1),
        drift=st.floats(min_value=1e-3, max_value=1e3),
        elasticity=st.floats(min_value=0, max_value=5),
        common_slowness=st.floats(min_value=0.5, max_value=2),
        round_index=whole,
        position=whole,
        taken_at=st.floats(min_value=0, max_value=1e11),
        is_flagged=st.booleans(),
    )


def small_export(
    device: Device, *, medians_ms: tuple[float, ...] = (1.0, 2.0), sentinel_ms: float = 0.5
) -> LatencyExport:
    """One campaign that measured the first subjects, six steady samples each."""
    device_id = device.device_id
    subjects = SUBJECTS[: len(medians_ms)]
    row = RowLine(
        device_id=device_id,
        subject_id="",
        kind="block",
        text="",
        status="measured",
        finished_at="2026-01-01T00:00:00+00:00",
    )
    rows = [dataclasses.replace(row, subject_id=each.subject_id, kind=each.kind, text=each.text) for each in subjects]
    samples = [
        SampleLine(
            device_id=device_id,
            subject_id=subject.subject_id,
            campaign=1,
            raw_ms=median_ms * (1 + 0.0001 * index),
            num_runs=3,
            drift=1.0,
            round_index=index,
            position=0,
            taken_at=1.7e9 + index,
            is_flagged=False,
            elasticity=1.0,
            common_slowness=1.0,
        )
        for subject, median_ms in zip(subjects, medians_ms, strict=True)
        for index in range(6)
    ]
    order = {row.subject_id: row for row in sorted(rows, key=lambda row: row.subject_id)}
    return LatencyExport(
        devices=(DeviceLine(device_id=device_id, document=device.to_json(), sentinel_ms=sentinel_ms),),
        campaigns=(CampaignLine(device_id=device_id, campaign=1, protocol="{}", environment_before='{"load": 0.5}'),),
        rows=tuple(order.values()),
        samples=tuple(sorted(samples, key=lambda sample: sample.subject_id)),
    )
