"""The latency table: (device, block or network) -> every sample that was ever taken of it, in SQL.

Samples come in while a campaign runs and are committed round by round, so a killed campaign goes on where it stopped.
A row's median and interval are derived from its samples when the row is finished, and stored beside it, so that an
estimate reads twenty short rows instead of four hundred samples. Rows belong to a device; no query reads two.
"""

import dataclasses
import datetime
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import sqlalchemy
from sqlalchemy import Engine, bindparam, delete, select
from sqlalchemy.orm import Session

from profilers.common_mode import with_common_slowness
from profilers.correction import Correction
from profilers.device import Device
from profilers.elasticity import fit_elasticities, with_elasticities
from profilers.environment import Environment
from profilers.latency_record import RECORD_COLUMNS, Coverage, LatencyRecord
from profilers.latency_rows import begun_rows, existing_rows, in_chunks, insert_or_ignore
from profilers.load_report import LoadReport
from profilers.measurement import Measurement, Sample, measurement_of
from profilers.storage import create_tables, display_url
from profilers.subject import Subject
from profilers.tables import (
    SCHEMA_VERSION,
    CampaignRow,
    CorrectionRow,
    DeviceRow,
    LatencyBase,
    LatencyRow,
    SampleRow,
    SchemaVersion,
)
from search_space.arch import ArchConfig
from search_space.arch_json import arch_from_json
from search_space.errors import StorageError
from search_space.progress import progress
from search_space.specs import BlockSpec, spec_from_key

# An estimate asks these two, and to build a query takes as long as to run it.
_RECORDS_QUERY = select(LatencyRow.subject_id, *RECORD_COLUMNS).where(
    LatencyRow.device_id == bindparam("device_id"),
    LatencyRow.subject_id.in_(bindparam("subject_ids", expanding=True)),
)
_CORRECTIONS_QUERY = (
    select(CorrectionRow.space, CorrectionRow.correction)
    .where(CorrectionRow.device_id == bindparam("device_id"), CorrectionRow.source_id == bindparam("source_id"))
    .order_by(CorrectionRow.space)
)
_SAMPLE_FIELDS = tuple(field.name for field in dataclasses.fields(Sample))


class LatencyTable:
    """Every latency of one workspace. Cheap to make; safe to use from many processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        version = self._schema_version()
        if version is None:
            self._create()
            version = self._schema_version()
        if version != SCHEMA_VERSION:
            raise StorageError(
                f"the latency table in {display_url(engine.url)} has schema version {version}",
                allowed=f"version {SCHEMA_VERSION}",
                fix="give another --storage URL, or use the version of SnapNAS that wrote it",
            )

    def _schema_version(self) -> int | None:
        """None before the tables are complete: their version is written last."""
        if not sqlalchemy.inspect(self._engine).has_table(SchemaVersion.__tablename__):
            return None
        with Session(self._engine) as session:
            return session.scalar(select(SchemaVersion.version))

    def _create(self) -> None:
        if self._engine.get_execution_options().get("read_only"):
            raise StorageError(
                f"{display_url(self._engine.url)} holds no latency table", fix="python -m profilers.measure makes one"
            )
        create_tables(self._engine, LatencyBase.metadata)
        with Session(self._engine) as session, session.begin():
            session.execute(insert_or_ignore(self._engine, SchemaVersion).values(version=SCHEMA_VERSION))

    # Devices

    def add_device(self, device: Device) -> None:
        """Makes the device known; it may be known already."""
        values = {"device_id": device.device_id, "name": device.name, "record": device.to_json()}
        with Session(self._engine) as session, session.begin():
            session.execute(insert_or_ignore(self._engine, DeviceRow).values(**values))

    def devices(self) -> tuple[Device, ...]:
        """Every device with rows here, by name."""
        with Session(self._engine) as session:
            records = session.scalars(select(DeviceRow.record).order_by(DeviceRow.name, DeviceRow.device_id))
            return tuple(Device.from_json(record) for record in records)

    def sentinel_ms(self, device: Device) -> float | None:
        """How long the sentinel took in the device's first campaign; None before that."""
        with Session(self._engine) as session:
            return session.scalar(select(DeviceRow.sentinel_ms).where(DeviceRow.device_id == device.device_id))

    def set_sentinel_ms(self, device: Device, sentinel_ms: float) -> None:
        """Sets what drifts are relative to, unless another campaign has: samples relative to its value may be there."""
        is_without = (DeviceRow.device_id == device.device_id) & DeviceRow.sentinel_ms.is_(None)
        with Session(self._engine) as session, session.begin():
            session.execute(sqlalchemy.update(DeviceRow).where(is_without).values(sentinel_ms=sentinel_ms))

    # Campaigns and samples

    def start_campaign(self, device: Device, *, protocol: str, environment: Environment) -> int:
        """Opens a campaign of a known device and returns its number."""
        with Session(self._engine) as session, session.begin():
            campaign = CampaignRow(
                device_id=device.device_id, protocol=protocol, environment_before=environment.to_json()
            )
            session.add(campaign)
            session.flush()
            return campaign.campaign_id

    def finish_campaign(self, campaign_id: int, *, environment: Environment) -> None:
        with Session(self._engine) as session, session.begin():
            session.get_one(CampaignRow, campaign_id).environment_after = environment.to_json()

    def add_samples(self, device: Device, samples: Mapping[Subject, Sequence[Sample]], *, campaign_id: int) -> None:
        """Keeps new samples, all of them or, if the process dies now, none of them."""
        with Session(self._engine) as session, session.begin():
            rows = begun_rows(session, device, samples)
            for row in rows.values():
                row.is_settled = False
            values = [
                {"row_id": rows[subject.subject_id].row_id, "campaign_id": campaign_id, **dataclasses.asdict(sample)}
                for subject, subject_samples in samples.items()
                for sample in subject_samples
            ]
            if values:
                session.execute(sqlalchemy.insert(SampleRow), values)

    def samples(self, device: Device, subjects: Iterable[Subject]) -> dict[Subject, list[Sample]]:
        """Every sample of the subjects, oldest first; a subject without samples is left out."""
        found: dict[Subject, list[Sample]] = {}
        columns = [getattr(SampleRow, name) for name in _SAMPLE_FIELDS]
        with Session(self._engine) as session:
            for by_id in in_chunks(subjects):
                query = select(LatencyRow.subject_id, *columns).join(SampleRow, SampleRow.row_id == LatencyRow.row_id)
                query = query.where(LatencyRow.device_id == device.device_id, LatencyRow.subject_id.in_(by_id))
                for subject_id, *values in session.execute(query.order_by(SampleRow.sample_id)):
                    sample = Sample(**dict(zip(_SAMPLE_FIELDS, values, strict=True)))
                    found.setdefault(by_id[subject_id], []).append(sample)
        return found

    def forget(self, device: Device, subjects: Iterable[Subject]) -> None:
        """Drops the rows of subjects that are to be measured from the start again."""
        with Session(self._engine) as session, session.begin():
            for by_id in in_chunks(subjects):
                is_row = (LatencyRow.device_id == device.device_id) & LatencyRow.subject_id.in_(by_id)
                session.execute(delete(SampleRow).where(SampleRow.row_id.in_(select(LatencyRow.row_id).where(is_row))))
                session.execute(delete(LatencyRow).where(is_row))

    # Rows

    def finish(
        self, device: Device, subjects: Iterable[Subject], *, elasticities: Mapping[str, float] | None = None
    ) -> None:
        """Derives the median and the interval of every subject from the samples it has.

        Args:
            device: The device.
            subjects: Those that have enough samples.
            elasticities: Of each kind of subject, which its samples keep from now on; by default they have their own.
        """
        samples = self.samples(device, subjects)
        if elasticities is not None:
            samples = with_elasticities(samples, elasticities)
        self._derive(device, samples, keeps_samples=elasticities is not None)

    def settle(self, device: Device, subjects: Iterable[Subject]) -> None:
        """Finishes subjects once more, now that all their samples together say what the machine did meanwhile."""
        samples = self.samples(device, subjects)
        samples = with_common_slowness(with_elasticities(samples, fit_elasticities(samples)))
        with progress("deriving medians from all samples", total=len(samples), unit="row") as bar:
            for by_id in in_chunks(samples):  # each its own transaction: others may want to write
                self._derive(device, {subject: samples[subject] for subject in by_id.values()})
                bar.advance(len(by_id))

    def mark_settled(self, device: Device, subjects: Iterable[Subject]) -> None:
        """Says that a campaign came to its end with these subjects, those that failed among them."""
        with Session(self._engine) as session, session.begin():
            for row in existing_rows(session, device, subjects).values():
                row.is_settled = row.status != "sampling"

    def unsettled(self, device: Device, kind: Literal["block", "network"]) -> frozenset[Subject]:
        """Blocks or networks that have a latency or failed, and whose campaign was killed before it came to its end."""
        query = select(LatencyRow.text).where(LatencyRow.status != "sampling")
        query = query.where(LatencyRow.device_id == device.device_id, LatencyRow.kind == kind)
        with Session(self._engine) as session:
            texts = session.scalars(query.where(~LatencyRow.is_settled))
            return frozenset(Subject(kind=kind, text=text) for text in texts)

    def _derive(self, device: Device, samples: Mapping[Subject, list[Sample]], *, keeps_samples: bool = True) -> None:
        """Writes the rows, and, with `keeps_samples`, by what their samples are divided."""
        measurements = {subject: measurement_of(taken) for subject, taken in samples.items()}
        with Session(self._engine) as session, session.begin():
            rows = begun_rows(session, device, samples)
            for subject, measurement in measurements.items():
                row = rows[subject.subject_id]
                if keeps_samples:
                    _update_samples(session, row.row_id, samples[subject])
                row.status = "measured" if measurement.is_stable else "unstable"
                row.median_ms = measurement.median_ms
                row.low_ms, row.high_ms = measurement.confidence_interval_ms()
                row.finished_at, row.reason = _now(), None

    def fail(
        self,
        device: Device,
        subject: Subject,
        *,
        reason: str,
        status: Literal["failed", "does_not_fit"] = "failed",
    ) -> None:
        """Records that the device could not run the subject, or has too little memory for it."""
        with Session(self._engine) as session, session.begin():
            row = begun_rows(session, device, [subject])[subject.subject_id]
            row.status, row.reason, row.finished_at = status, reason, _now()

    def add_load_reports(self, device: Device, reports: Mapping[Subject, LoadReport]) -> None:
        """Keeps what the first loading of each subject said; a later one finds files and caches warm."""
        with Session(self._engine) as session, session.begin():
            rows = begun_rows(session, device, reports)
            for subject, report in reports.items():
                row = rows[subject.subject_id]
                row.load_report = row.load_report or report.to_json()

    def records(self, device: Device, subjects: Iterable[Subject]) -> dict[Subject, LatencyRecord]:
        """What is known of the subjects; one that was never begun is left out."""
        found = {}
        with self._engine.connect() as connection:
            for by_id in in_chunks(subjects):
                asked = {"device_id": device.device_id, "subject_ids": list(by_id)}
                for row in connection.execute(_RECORDS_QUERY, asked).all():
                    found[by_id[row.subject_id]] = LatencyRecord.of_row(row)
        return found

    def load_reports(self, device: Device, subjects: Iterable[Subject]) -> dict[Subject, LoadReport]:
        """What loading the subjects said; one that was never loaded is left out."""
        by_id = {subject.subject_id: subject for subject in subjects}
        with Session(self._engine) as session:
            rows = existing_rows(session, device, by_id.values())
            return {by_id[key]: LoadReport.from_json(row.load_report) for key, row in rows.items() if row.load_report}

    def blocks(self, device: Device) -> dict[BlockSpec, LatencyRecord]:
        """What is known of every block that was ever begun on the device."""
        query = select(LatencyRow.text, *RECORD_COLUMNS)
        query = query.where(LatencyRow.device_id == device.device_id, LatencyRow.kind == "block")
        with self._engine.connect() as connection:
            return {spec_from_key(row.text): LatencyRecord.of_row(row) for row in connection.execute(query)}

    def networks(self, device: Device) -> dict[ArchConfig, LatencyRecord]:
        """What is known of every whole network that was ever begun on the device, oldest first."""
        query = select(LatencyRow.text, *RECORD_COLUMNS).order_by(LatencyRow.row_id)
        query = query.where(LatencyRow.device_id == device.device_id, LatencyRow.kind == "network")
        with self._engine.connect() as connection:
            return {arch_from_json(row.text): LatencyRecord.of_row(row) for row in connection.execute(query)}

    def medians_ms(self, device: Device) -> dict[BlockSpec, float]:
        """The milliseconds of every block that has a latency on the device."""
        return {spec: record.median_ms for spec, record in self.blocks(device).items() if record.has_latency}

    def measurement(self, device: Device, subject: Subject) -> Measurement | None:
        """The subject's measurement with its samples; None unless it is finished."""
        record = self.records(device, [subject]).get(subject)
        if record is None or not record.has_latency:
            return None
        return measurement_of(self.samples(device, [subject])[subject])

    def coverage(self, specs: Iterable[BlockSpec], device: Device) -> Coverage:
        """Which of the blocks the device's table holds."""
        distinct = tuple(dict.fromkeys(specs))
        return Coverage.of_records(distinct, self.records(device, map(Subject.of_block, distinct)))

    def version(self, device: Device, specs: Iterable[BlockSpec], correction: Correction | None) -> str:
        """12 hex digits that change when any latency of the blocks, or what corrects their sums, changes."""
        records = self.records(device, [Subject.of_block(spec) for spec in specs])
        lines = [
            f"{subject.text} {record.status} {record.median_ms!r} {record.low_ms!r} {record.high_ms!r}"
            for subject, record in records.items()
        ]
        content = [device.device_id, repr(correction), *sorted(lines)]
        return hashlib.sha256("\n".join(content).encode()).hexdigest()[:12]

    # Corrections

    def corrections(
        self, device: Device, *, source: Device | None = None, interpolate: bool = False
    ) -> dict[str, Correction]:
        """What was fitted from the blocks of `source`, by default the device's own, by name of the search space.

        One that was fitted on guessed blocks has learnt their errors, so it is left out unless blocks are guessed
        again, with `interpolate`.
        """
        asked = {"device_id": device.device_id, "source_id": (source or device).device_id}
        with self._engine.connect() as connection:
            found = {space: Correction.from_json(text) for space, text in connection.execute(_CORRECTIONS_QUERY, asked)}
        return {space: correction for space, correction in found.items() if interpolate or not correction.num_guessed}

    def set_correction(self, device: Device, correction: Correction, *, source: Device | None = None) -> None:
        """Stores what was fitted, in place of an earlier fit on the same space; both devices are known."""
        key = {
            "device_id": device.device_id,
            "source_id": (source or device).device_id,
            "space": correction.space,
        }
        with Session(self._engine) as session, session.begin():
            session.merge(CorrectionRow(**key, correction=correction.to_json()))


def _update_samples(session: Session, row_id: int, samples: Sequence[Sample]) -> None:
    """Keeps by what a row's samples, oldest first, are divided."""
    query = select(SampleRow.sample_id).where(SampleRow.row_id == row_id).order_by(SampleRow.sample_id)
    query = query.limit(len(samples))  # another process may have added some since they were read
    values = [
        {"sample_id": sample_id, "elasticity": sample.elasticity, "common_slowness": sample.common_slowness}
        for sample_id, sample in zip(session.scalars(query), samples, strict=True)
    ]
    session.execute(sqlalchemy.update(SampleRow), values)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
