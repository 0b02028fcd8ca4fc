import contextlib
import dataclasses
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import Engine

from profilers.device import Device
from profilers.environment import record_environment
from profilers.exchange import export_device, import_table
from profilers.exchange_files import read_export, write_export
from profilers.exchange_records import LatencyExport
from profilers.latency_table import LatencyTable
from profilers.measurement import Measurement, Sample, measurement_of
from profilers.storage import open_engine
from profilers.subject import Subject
from search_space.errors import UsageError
from search_space.specs import BlockSpec, NormOutSpec
from tests.profilers.corrections import one_scale
from tests.profilers.exports import SUBJECTS, small_export


def samples_of(*raw_ms: float) -> list[Sample]:
    return [
        Sample(
            raw_ms=value,
            num_runs=3,
            drift=1.01,
            round_index=i,
            position=2,
            taken_at=1.7e9 + i,
            is_flagged=i == 2,
            elasticity=1 / 3,
            common_slowness=1.1,
        )
        for i, value in enumerate(raw_ms)
    ]


def filled(engine: Engine, device: Device, specs: tuple[BlockSpec, ...]) -> LatencyTable:
    """One row of every status but one, from two campaigns of which the second was killed."""
    table = LatencyTable(engine)
    table.add_device(device)
    table.set_sentinel_ms(device, 1 / 3)
    measured, unstable, failed, sampling = map(Subject.of_block, specs)
    campaign_id = table.start_campaign(device, protocol='{"seed": 0}', environment=record_environment())
    table.add_samples(
        device, {measured: samples_of(*[0.1] * 6), unstable: samples_of(1.0, 2.0, 3.0, 4.0)}, campaign_id=campaign_id
    )
    table.finish(device, [measured, unstable])
    table.fail(device, failed, reason="no such operator: \x1b[31m'add'\nat line 3")
    table.finish_campaign(campaign_id, environment=record_environment())
    killed_id = table.start_campaign(device, protocol='{"seed": 1}', environment=record_environment())
    table.add_samples(device, {sampling: samples_of(12345.678901234567)}, campaign_id=killed_id)
    return table


def content(table: LatencyTable, engine: Engine, device: Device) -> tuple[object, ...]:
    """All that the database says of a device, the medians included."""
    export = export_device(engine, device.name)
    subjects = [Subject(kind=row.kind, text=row.text) for row in export.rows]
    return export, table.records(device, subjects), table.samples(device, subjects)


@pytest.fixture
def other_engine(tmp_path: Path) -> Engine:
    return open_engine(f"sqlite:///{tmp_path / 'other.db'}")


@pytest.mark.parametrize("name", ["table.parquet", "table.csv"])
def test_a_table_in_another_database_is_the_same_table(
    engine: Engine,
    other_engine: Engine,
    device: Device,
    small_specs: tuple[BlockSpec, ...],
    tmp_path: Path,
    name: str,
) -> None:
    table = filled(other_engine, device, small_specs)
    write_export(export_device(other_engine, device.name), tmp_path / name)
    (report,) = import_table(engine, read_export(tmp_path / name))
    assert (report.device, report.num_added, report.num_known, report.num_replaced) == (device, 4, 0, 0)
    exported, records, samples = content(LatencyTable(engine), engine, device)
    wanted_export, wanted_records, wanted_samples = content(table, other_engine, device)
    assert (exported, samples) == (wanted_export, wanted_samples)
    assert LatencyTable(engine).version(device, small_specs, None) == table.version(device, small_specs, None)
    assert {subject: record.status for subject, record in records.items()} == {  # type: ignore[attr-defined]
        subject: record.status
        for subject, record in wanted_records.items()  # type: ignore[attr-defined]
    }
    write_export(export_device(engine, device.name), tmp_path / f"again-{name}")
    assert (tmp_path / f"again-{name}").read_bytes() == (tmp_path / name).read_bytes()


def test_an_export_holds_one_state_of_a_table_that_is_being_written(
    engine: Engine, device: Device, small_specs: tuple[BlockSpec, ...]
) -> None:
    filled(engine, device, small_specs)
    before = export_device(engine, device.name)
    other_process = open_engine(engine.url.render_as_string(hide_password=False))
    writer = LatencyTable(other_process)
    campaign_id = writer.start_campaign(device, protocol="{}", environment=record_environment())
    late = Subject.of_block(NormOutSpec(channels=8, size=32, norm_groups=4))
    not_yet = [late]

    @sqlalchemy.event.listens_for(engine, "after_cursor_execute")
    def write_after_the_rows_were_read(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if not_yet and "FROM latency_rows" in statement:
            writer.add_samples(device, {not_yet.pop(): samples_of(1.0)}, campaign_id=campaign_id)
            writer.forget(device, [Subject.of_block(small_specs[0])])

    assert export_device(engine, device.name) == before
    assert not not_yet
    assert late.subject_id in {row.subject_id for row in export_device(engine, device.name).rows}
    other_process.dispose()


def test_a_reason_travels_without_the_colours_of_a_terminal(
    sqlite_engine: Engine, device: Device, small_specs: tuple[BlockSpec, ...]
) -> None:
    filled(sqlite_engine, device, small_specs)
    reasons = [row.reason for row in export_device(sqlite_engine, device.name).rows if row.reason]
    assert reasons == ["no such operator: ?[31m'add'\nat line 3"]


def test_what_is_imported_needs_no_settling_unless_it_was_being_sampled(
    engine: Engine, other_engine: Engine, device: Device, small_specs: tuple[BlockSpec, ...]
) -> None:
    filled(other_engine, device, small_specs)
    import_table(engine, export_device(other_engine, device.name))
    records = LatencyTable(engine).records(device, map(Subject.of_block, small_specs))
    assert {record.status: record.is_settled for record in records.values()} == {
        "measured": True,
        "unstable": True,
        "failed": True,
        "sampling": False,
    }


def test_the_second_import_changes_nothing(engine: Engine, device: Device) -> None:
    export = small_export(device)
    import_table(engine, export)
    before = content(LatencyTable(engine), engine, device)
    (report,) = import_table(engine, export)
    assert (report.num_added, report.num_known, report.num_replaced) == (0, 2, 0)
    assert content(LatencyTable(engine), engine, device) == before
    with engine.connect() as connection:
        assert connection.scalar(sqlalchemy.text("SELECT count(*) FROM latency_campaigns")) == 1


def test_new_rows_join_those_that_are_here(engine: Engine, device: Device) -> None:
    import_table(engine, small_export(device, medians_ms=(1.0, 2.0)))
    (report,) = import_table(engine, small_export(device, medians_ms=(1.0, 2.0, 3.0)))
    assert (report.num_added, report.num_known) == (1, 2)
    assert LatencyTable(engine).records(device, SUBJECTS[:3])[SUBJECTS[2]].median_ms == pytest.approx(3.0, rel=1e-3)


def test_other_samples_are_refused_with_all_of_the_file(engine: Engine, device: Device) -> None:
    import_table(engine, small_export(device, medians_ms=(1.0, 2.0)))
    before = content(LatencyTable(engine), engine, device)
    conflicting = small_export(device, medians_ms=(1.0, 2.5, 3.0))
    with pytest.raises(UsageError, match="1 rows of test .* other samples") as caught:
        import_table(engine, conflicting)
    assert "--replace" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 3
    assert content(LatencyTable(engine), engine, device) == before

    (report,) = import_table(engine, conflicting, replace=True)
    assert (report.num_added, report.num_known, report.num_replaced) == (1, 1, 1)
    exported = export_device(engine, device.name).samples
    assert [line.sample for line in exported] == [line.sample for line in conflicting.samples]


def test_rows_of_another_sentinel_do_not_join(engine: Engine, device: Device) -> None:
    """Drift is relative to the sentinel: equal milliseconds of two sentinels do not mean equal times."""
    import_table(engine, small_export(device, medians_ms=(1.0, 2.0), sentinel_ms=0.5))
    other = small_export(device, medians_ms=(1.0,), sentinel_ms=0.6)
    with pytest.raises(UsageError, match="2 rows of test .* another sentinel"):
        import_table(engine, other)
    (report,) = import_table(engine, other, replace=True)
    assert (report.num_added, report.num_known, report.num_replaced) == (0, 0, 2)
    assert export_device(engine, device.name) == other


def test_another_sentinel_takes_the_corrections_with_it(
    sqlite_engine: Engine, device: Device, absent_device: Device
) -> None:
    """Their overhead is absolute milliseconds, which are those of the old sentinel."""
    table, own, transferred = LatencyTable(sqlite_engine), one_scale(1.1), one_scale(1.2)
    import_table(sqlite_engine, small_export(device, sentinel_ms=0.5))
    table.add_device(absent_device)
    table.set_correction(device, own)
    table.set_correction(absent_device, transferred, source=device)
    table.set_correction(absent_device, own)
    import_table(sqlite_engine, small_export(device, sentinel_ms=0.5))
    assert table.corrections(device) == {"tiny": own}
    import_table(sqlite_engine, small_export(device, sentinel_ms=0.6), replace=True)
    assert table.corrections(device) == table.corrections(absent_device, source=device) == {}
    assert table.corrections(absent_device) == {"tiny": own}


def test_others_can_write_while_an_import_derives_medians(
    sqlite_engine: Engine, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    LatencyTable(sqlite_engine)

    def measurement_while_others_write(samples: list[Sample]) -> Measurement:
        with contextlib.closing(sqlite3.connect(str(sqlite_engine.url.database), timeout=0)) as other_process:
            other_process.execute("BEGIN IMMEDIATE")
        return measurement_of(samples)

    monkeypatch.setattr("profilers.exchange.measurement_of", measurement_while_others_write)
    (report,) = import_table(sqlite_engine, small_export(device))
    assert report.num_added == 2


def test_rows_of_another_version_stay_apart(engine: Engine, device: Device) -> None:
    newer = dataclasses.replace(device, runtime="none 2")
    import_table(engine, small_export(device, medians_ms=(1.0,)))
    import_table(engine, small_export(newer, medians_ms=(7.0,)))
    table = LatencyTable(engine)
    medians_ms = [table.records(each, SUBJECTS[:1])[SUBJECTS[0]].median_ms for each in (device, newer)]
    assert medians_ms == pytest.approx([1.0, 7.0], rel=1e-3)
    assert {line.device_id for line in export_device(engine, device.name).devices} == {
        device.device_id,
        newer.device_id,
    }
    assert export_device(engine, newer.device_id) == small_export(newer, medians_ms=(7.0,))


def test_stability_is_derived_not_believed(engine: Engine, device: Device) -> None:
    steady = small_export(device, medians_ms=(1.0,))
    shaky = tuple(
        dataclasses.replace(line, raw_ms=line.raw_ms * (1 + index)) for index, line in enumerate(steady.samples)
    )
    import_table(engine, dataclasses.replace(steady, samples=shaky))
    assert steady.rows[0].status == "measured"
    assert LatencyTable(engine).records(device, SUBJECTS[:1])[SUBJECTS[0]].status == "unstable"


def test_an_unknown_device_has_no_export(engine: Engine, device: Device) -> None:
    import_table(engine, small_export(device))
    with pytest.raises(UsageError, match="holds nothing of the device 'tset'") as caught:
        export_device(engine, "tset")
    assert "allowed: test" in str(caught.value)


def test_a_device_without_rows_has_an_empty_export(engine: Engine, device: Device) -> None:
    LatencyTable(engine).add_device(device)
    export = export_device(engine, device.name)
    assert export == LatencyExport(devices=export.devices, campaigns=(), rows=(), samples=())
    assert export.devices[0].sentinel_ms is None
