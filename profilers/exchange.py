"""A latency table out of its database and into another one: what `profilers.table` exports and imports.

Rows of different devices never mix, so an import only ever adds devices, or rows to a device that is the same field by
field. What this machine measured is not overwritten: a row that is here with the same samples is left as it is, and one
that is here with other samples stops the import, all of it, unless the user asks to replace.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy
from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import Session

from profilers.device import Device
from profilers.exchange_records import (
    MAX_REASON_LENGTH,
    CampaignLine,
    DeviceLine,
    LatencyExport,
    RowLine,
    SampleLine,
)
from profilers.finding_device import versions_in_table
from profilers.latency_rows import insert_or_ignore
from profilers.latency_table import LatencyTable
from profilers.measurement import Sample, measurement_of
from profilers.storage import snapshot_session
from profilers.tables import CampaignRow, CorrectionRow, DeviceRow, LatencyRow, SampleRow
from search_space.errors import UsageError

_SAMPLE_FIELDS = tuple(field.name for field in dataclasses.fields(Sample))


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What an import did to one device's rows."""

    device: Device
    """Whose rows they are."""
    num_added: int
    """Rows that were not here."""
    num_known: int
    """Rows that were here with the same samples."""
    num_replaced: int
    """Rows that were here with other samples and are gone."""


def export_device(engine: Engine, device_name: str) -> LatencyExport:
    """Every row of every version of a device, or of the one version with this id, ready for a file.

    Raises:
        UsageError: The table holds no device of this name or id.
    """
    table = LatencyTable(engine)
    devices = versions_in_table(device_name, table)
    if not devices:
        names = sorted({device.name for device in table.devices()})
        raise UsageError(
            f"the table holds nothing of the device {device_name!r}",
            allowed=", ".join(names) or "nothing yet",
            fix="python -m profilers.measure measures a device",
        )
    with snapshot_session(engine) as session:  # a campaign may be adding rows
        return _joined([_export_version(session, device) for device in devices])


def _joined(exports: Sequence[LatencyExport]) -> LatencyExport:
    return LatencyExport(
        devices=tuple(line for export in exports for line in export.devices),
        campaigns=tuple(line for export in exports for line in export.campaigns),
        rows=tuple(line for export in exports for line in export.rows),
        samples=tuple(line for export in exports for line in export.samples),
    )


def _export_version(session: Session, device: Device) -> LatencyExport:
    """One device record with everything of it; campaigns are numbered in this file, in the order they ran."""
    device_id = device.device_id
    rows = session.scalars(
        select(LatencyRow).where(LatencyRow.device_id == device_id).order_by(LatencyRow.subject_id)
    ).all()
    columns = [getattr(SampleRow, name) for name in _SAMPLE_FIELDS]
    query = select(LatencyRow.subject_id, SampleRow.campaign_id, *columns).join_from(SampleRow, LatencyRow)
    query = query.where(LatencyRow.device_id == device_id).order_by(LatencyRow.subject_id, SampleRow.sample_id)
    samples = session.execute(query).all()
    used = sorted({campaign_id for _, campaign_id, *_ in samples})
    numbers = {campaign_id: number for number, campaign_id in enumerate(used, start=1)}
    campaigns = session.scalars(
        select(CampaignRow).where(CampaignRow.device_id == device_id).order_by(CampaignRow.campaign_id)
    ).all()
    return LatencyExport(
        devices=(
            DeviceLine(
                device_id=device_id,
                document=device.to_json(),
                sentinel_ms=session.get_one(DeviceRow, device_id).sentinel_ms,
            ),
        ),
        campaigns=tuple(
            CampaignLine(
                device_id=device_id,
                campaign=numbers[campaign.campaign_id],
                protocol=campaign.protocol,
                environment_before=campaign.environment_before,
                environment_after=campaign.environment_after,
            )
            for campaign in campaigns
            if campaign.campaign_id in numbers
        ),
        rows=tuple(map(_row_line, rows)),
        samples=tuple(
            SampleLine(
                device_id=device_id,
                subject_id=subject_id,
                campaign=numbers[campaign_id],
                **dict(zip(_SAMPLE_FIELDS, values, strict=True)),
            )
            for subject_id, campaign_id, *values in samples
        ),
    )


def _row_line(row: LatencyRow) -> RowLine:
    return RowLine(
        device_id=row.device_id,
        subject_id=row.subject_id,
        kind=row.kind,  # type: ignore[arg-type]
        text=row.text,
        status=row.status,  # type: ignore[arg-type]
        reason=None if row.reason is None else _plain(row.reason),
        load_report=row.load_report,
        finished_at=row.finished_at,
    )


def _plain(reason: str) -> str:
    """A runtime's message without the escape sequences of a terminal, and not endless."""
    letters = (letter if letter.isprintable() or letter in "\t\r\n" else "?" for letter in reason[:MAX_REASON_LENGTH])
    return "".join(letters)


def import_table(engine: Engine, export: LatencyExport, *, replace: bool = False) -> tuple[ImportReport, ...]:
    """Adds what is new, all of it or nothing, and derives every median from the samples.

    Args:
        engine: The database.
        export: From `profilers.exchange_files.read_export`.
        replace: Whether rows that are here with other samples give way to those of the file.

    Raises:
        UsageError: Rows are here with other samples, and `replace` is not given.
    """
    LatencyTable(engine)  # makes the tables, or refuses those of another version
    samples: dict[tuple[str, str], list[Sample]] = {(line.device_id, line.subject_id): [] for line in export.rows}
    for line in export.samples:
        samples[line.device_id, line.subject_id].append(line.sample)
    # Before the database is locked, for ten thousand medians take a minute.
    derived = {
        (line.device_id, line.subject_id): _latency_row(line, samples[line.device_id, line.subject_id])
        for line in export.rows
    }
    with snapshot_session(engine) as session:
        return tuple(_import_version(session, line, export, derived, replace=replace) for line in export.devices)


def _import_version(
    session: Session,
    device_line: DeviceLine,
    export: LatencyExport,
    derived: Mapping[tuple[str, str], LatencyRow],
    *,
    replace: bool,
) -> ImportReport:
    device, device_id = Device.from_json(device_line.document), device_line.device_id
    insert = insert_or_ignore(session.get_bind().engine, DeviceRow)
    session.execute(insert.values(device_id=device_id, name=device.name, record=device_line.document))
    rows = {line.subject_id: line for line in export.rows if line.device_id == device_id}
    samples: dict[str, list[SampleLine]] = {subject_id: [] for subject_id in rows}
    for line in export.samples:
        if line.device_id == device_id:
            samples[line.subject_id].append(line)

    own = _export_version(session, device)
    conflicts, known = _compare(own, device_line, rows, samples)
    if conflicts and not replace:
        raise UsageError(
            f"{len(conflicts)} rows of {device.name} ({device_id}) are here with other samples or another sentinel",
            allowed="rows that are new, or here with the same samples",
            fix="--replace drops those that are here; without it nothing was imported",
        )
    _drop(session, device_id, conflicts)
    if device_line.sentinel_ms not in (None, own.devices[0].sentinel_ms):
        session.get_one(DeviceRow, device_id).sentinel_ms = device_line.sentinel_ms
        is_of_device = (CorrectionRow.device_id == device_id) | (CorrectionRow.source_id == device_id)
        session.execute(delete(CorrectionRow).where(is_of_device))  # their overhead is milliseconds of the old sentinel
    new = [derived[device_id, subject_id] for subject_id in rows if subject_id not in known]
    campaigns = [line for line in export.campaigns if line.device_id == device_id]
    _add(session, new, {row.subject_id: samples[row.subject_id] for row in new}, campaigns)
    return ImportReport(
        device=device,
        num_added=len(new) - len(conflicts & rows.keys()),
        num_known=len(known),
        num_replaced=len(conflicts),
    )


def _compare(
    own: LatencyExport,
    device_line: DeviceLine,
    rows: dict[str, RowLine],
    samples: dict[str, list[SampleLine]],
) -> tuple[set[str], set[str]]:
    """Which rows here contradict the file, and which rows of the file are here already.

    With another sentinel every row here does: drift is relative to it, so rows of both would not be comparable.
    """
    own_rows = {line.subject_id: line for line in own.rows}
    own_sentinel_ms = own.devices[0].sentinel_ms
    if own.samples and device_line.sentinel_ms not in (None, own_sentinel_ms):
        return set(own_rows), set()
    own_samples: dict[str, list[Sample]] = {subject_id: [] for subject_id in own_rows}
    for line in own.samples:
        own_samples[line.subject_id].append(line.sample)
    known = {
        subject_id
        for subject_id in own_rows.keys() & rows.keys()
        if _outcome(own_rows[subject_id]) == _outcome(rows[subject_id])
        and own_samples[subject_id] == [line.sample for line in samples[subject_id]]
    }
    return (own_rows.keys() & rows.keys()) - known, known


def _outcome(line: RowLine) -> str:
    """A row's status, as far as it is not derived from its samples."""
    return "measured" if line.has_latency else line.status


def _drop(session: Session, device_id: str, subject_ids: set[str]) -> None:
    for subject_id in subject_ids:
        row = session.scalars(
            select(LatencyRow).where(LatencyRow.device_id == device_id, LatencyRow.subject_id == subject_id)
        ).one()
        session.execute(delete(SampleRow).where(SampleRow.row_id == row.row_id))
        session.delete(row)
    session.flush()


def _add(
    session: Session,
    rows: Sequence[LatencyRow],
    samples: dict[str, list[SampleLine]],
    campaigns: Sequence[CampaignLine],
) -> None:
    """Adds rows with their samples, and of the campaigns those that took one of these."""
    used = {line.campaign for lines in samples.values() for line in lines}
    campaign_rows = {
        line.campaign: CampaignRow(
            device_id=line.device_id,
            protocol=line.protocol,
            environment_before=line.environment_before,
            environment_after=line.environment_after,
        )
        for line in sorted(campaigns, key=lambda line: line.campaign)
        if line.campaign in used
    }
    session.add_all([*campaign_rows.values(), *rows])
    session.flush()
    values = [
        {
            "row_id": row.row_id,
            "campaign_id": campaign_rows[line.campaign].campaign_id,
            **dataclasses.asdict(line.sample),
        }
        for row in rows
        for line in samples[row.subject_id]
    ]
    if values:
        session.execute(sqlalchemy.insert(SampleRow), values)


def _latency_row(line: RowLine, samples: Sequence[Sample]) -> LatencyRow:
    row = LatencyRow(
        device_id=line.device_id,
        subject_id=line.subject_id,
        kind=line.kind,
        text=line.text,
        status=line.status,
        reason=line.reason,
        load_report=line.load_report,
        finished_at=line.finished_at,
        is_settled=line.status != "sampling",  # samples come with all that they are divided by
    )
    if line.has_latency:
        measurement = measurement_of(samples)
        row.status = "measured" if measurement.is_stable else "unstable"
        row.median_ms = measurement.median_ms
        row.low_ms, row.high_ms = measurement.confidence_interval_ms()
    return row
