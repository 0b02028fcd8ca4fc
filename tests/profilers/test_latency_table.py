import dataclasses

import pytest
import sqlalchemy
from sqlalchemy import Engine

from profilers.device import Device
from profilers.environment import record_environment
from profilers.latency_table import LatencyTable
from profilers.measurement import Sample, measurement_of
from profilers.subject import Subject
from search_space.specs import BlockSpec
from tests.profilers.corrections import one_scale


def samples_of(*raw_ms: float) -> list[Sample]:
    return [
        Sample(raw_ms=value, num_runs=3, drift=1.01, round_index=i, position=2, taken_at=1.7e9 + i, is_flagged=False)
        for i, value in enumerate(raw_ms)
    ]


def fill(table: LatencyTable, device: Device, samples: dict[Subject, list[Sample]]) -> None:
    table.add_device(device)
    campaign_id = table.start_campaign(device, protocol="{}", environment=record_environment())
    table.add_samples(device, samples, campaign_id=campaign_id)
    table.finish(device, samples)
    table.finish_campaign(campaign_id, environment=record_environment())


def test_samples_come_back_bit_for_bit(engine: Engine, device: Device, small_specs: tuple[BlockSpec, ...]) -> None:
    table = LatencyTable(engine)
    subject = Subject.of_block(small_specs[0])
    samples = samples_of(0.1, 1 / 3, 1e-3, 12345.678901234567)
    fill(table, device, {subject: samples})
    assert table.samples(device, [subject]) == {subject: samples}


def test_stored_medians_are_those_of_the_samples(
    engine: Engine, device: Device, small_specs: tuple[BlockSpec, ...]
) -> None:
    table = LatencyTable(engine)
    subject = Subject.of_block(small_specs[0])
    samples = samples_of(1.0, 1.1, 0.9, 1.05, 0.97, 1.2)
    fill(table, device, {subject: samples})
    record, measurement = table.records(device, [subject])[subject], measurement_of(samples)
    assert (record.median_ms, (record.low_ms, record.high_ms)) == (
        measurement.median_ms,
        measurement.confidence_interval_ms(),
    )
    assert table.measurement(device, subject) == measurement


def test_coverage_puts_every_block_into_one_group(
    engine: Engine, device: Device, small_specs: tuple[BlockSpec, ...]
) -> None:
    table = LatencyTable(engine)
    steady, shaky, broken, absent = small_specs
    fill(
        table,
        device,
        {Subject.of_block(steady): samples_of(*[1.0] * 5), Subject.of_block(shaky): samples_of(1.0, 2.0, 3.0, 4.0)},
    )
    table.fail(device, Subject.of_block(broken), reason="no such operator")
    coverage = table.coverage(small_specs, device)
    assert (coverage.present, coverage.unstable, coverage.failed, coverage.missing) == (
        (steady,),
        (shaky,),
        (broken,),
        (absent,),
    )
    assert table.records(device, [Subject.of_block(broken)])[Subject.of_block(broken)].reason == "no such operator"


def test_rows_of_two_devices_never_mix(engine: Engine, device: Device, small_specs: tuple[BlockSpec, ...]) -> None:
    table = LatencyTable(engine)
    subject = Subject.of_block(small_specs[0])
    other = dataclasses.replace(device, runtime="none 2")
    fill(table, device, {subject: samples_of(1.0, 1.0)})
    assert table.records(other, [subject]) == {}
    fill(table, other, {subject: samples_of(7.0, 7.0)})
    assert table.records(device, [subject])[subject].median_ms == pytest.approx(1.0 / 1.01)
    assert table.records(other, [subject])[subject].median_ms == pytest.approx(7.0 / 1.01)
    assert set(table.devices()) == {device, other}


def test_unfinished_samples_count_but_are_no_latency(
    engine: Engine, device: Device, small_specs: tuple[BlockSpec, ...]
) -> None:
    table = LatencyTable(engine)
    subject = Subject.of_block(small_specs[0])
    table.add_device(device)
    campaign_id = table.start_campaign(device, protocol="{}", environment=record_environment())
    table.add_samples(device, {subject: samples_of(1.0, 1.0)}, campaign_id=campaign_id)
    assert table.coverage(small_specs[:1], device).missing == small_specs[:1]
    assert table.measurement(device, subject) is None
    assert len(table.samples(device, [subject])[subject]) == 2


def test_version_changes_with_any_latency_and_only_then(
    engine: Engine, device: Device, small_specs: tuple[BlockSpec, ...]
) -> None:
    table = LatencyTable(engine)
    first, second = map(Subject.of_block, small_specs[:2])
    fill(table, device, {first: samples_of(1.0, 1.0)})
    before = table.version(device, small_specs[:1], None)
    fill(table, device, {second: samples_of(2.0, 2.0)})
    assert table.version(device, small_specs[:1], None) == before
    assert table.version(device, small_specs[:2], None) != before
    assert table.version(device, small_specs[:1], one_scale(1.02)) != before


def test_forgotten_rows_are_missing_again(engine: Engine, device: Device, small_specs: tuple[BlockSpec, ...]) -> None:
    table = LatencyTable(engine)
    subjects = [Subject.of_block(spec) for spec in small_specs]
    fill(table, device, {subject: samples_of(1.0, 1.0) for subject in subjects})
    table.forget(device, subjects[:1])
    assert table.coverage(small_specs, device).missing == small_specs[:1]
    assert table.samples(device, subjects[:1]) == {}


def test_a_correction_comes_back_as_it_went_in(engine: Engine, device: Device) -> None:
    table = LatencyTable(engine)
    table.add_device(device)
    assert table.corrections(device) == {}
    table.set_correction(device, one_scale(0.5))
    table.set_correction(device, one_scale(1.02))
    table.set_correction(device, one_scale(0.9, space="mid"))
    assert table.corrections(device) == {"mid": one_scale(0.9, space="mid"), "tiny": one_scale(1.02)}


def test_corrections_of_different_sources_do_not_mix(engine: Engine, device: Device) -> None:
    table = LatencyTable(engine)
    source = dataclasses.replace(device, threads=2)
    table.add_device(device)
    table.add_device(source)
    table.set_correction(device, one_scale(2.0), source=source)
    assert table.corrections(device) == {}
    assert table.corrections(source) == {}
    assert table.corrections(device, source=source) == {"tiny": one_scale(2.0)}


def test_blocks_are_those_of_the_device_and_no_networks(
    engine: Engine, device: Device, small_specs: tuple[BlockSpec, ...]
) -> None:
    table = LatencyTable(engine)
    network = Subject(kind="network", text="{}")
    fill(table, device, {Subject.of_block(small_specs[0]): samples_of(1.0, 1.0), network: samples_of(1.0)})
    fill(table, dataclasses.replace(device, threads=2), {Subject.of_block(small_specs[1]): samples_of(1.0)})
    assert list(table.blocks(device)) == [small_specs[0]]


def test_sentinel_is_kept_with_the_device(engine: Engine, device: Device) -> None:
    table = LatencyTable(engine)
    assert table.sentinel_ms(device) is None
    table.add_device(device)
    table.set_sentinel_ms(device, 0.5)
    table.add_device(device)
    assert table.sentinel_ms(device) == 0.5


def test_samples_of_an_unknown_device_are_refused(engine: Engine, device: Device) -> None:
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        LatencyTable(engine).start_campaign(device, protocol="{}", environment=record_environment())


def test_more_rows_than_fit_into_one_query(engine: Engine, device: Device) -> None:
    table = LatencyTable(engine)
    subjects = [Subject(kind="block", text=f"block {index}") for index in range(1100)]
    table.add_device(device)
    campaign_id = table.start_campaign(device, protocol="{}", environment=record_environment())
    table.add_samples(device, {subject: samples_of(1.0) for subject in subjects}, campaign_id=campaign_id)
    assert len(table.records(device, subjects)) == 1100
    assert len(table.samples(device, subjects)) == 1100
