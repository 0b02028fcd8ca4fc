"""The rows of the latency table: found by subject in queries of bounded size, begun where there are none."""

from collections.abc import Iterable, Iterator

from sqlalchemy import Engine, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from profilers.device import Device
from profilers.subject import Subject
from profilers.tables import LatencyBase, LatencyRow

_MAX_IDS_PER_QUERY = 500  # far below the limits of SQLite (32766) and PostgreSQL (65535)


def begun_rows(session: Session, device: Device, subjects: Iterable[Subject]) -> dict[str, LatencyRow]:
    """The row of each subject by the subject's id, begun where there was none."""
    wanted = {subject.subject_id: subject for subject in subjects}
    found = existing_rows(session, device, wanted.values())
    new_rows = [
        {"device_id": device.device_id, "subject_id": key, "kind": subject.kind, "text": subject.text}
        for key, subject in wanted.items()
        if key not in found
    ]
    if not new_rows:
        return found
    session.execute(insert_or_ignore(session.get_bind().engine, LatencyRow).values(status="sampling"), new_rows)
    return existing_rows(session, device, wanted.values())


def existing_rows(session: Session, device: Device, subjects: Iterable[Subject]) -> dict[str, LatencyRow]:
    """The rows that there are, by the subject's id."""
    query = select(LatencyRow).where(LatencyRow.device_id == device.device_id)
    return {
        row.subject_id: row
        for by_id in in_chunks(subjects)
        for row in session.scalars(query.where(LatencyRow.subject_id.in_(by_id)))
    }


def insert_or_ignore(engine: Engine, table: type[LatencyBase]) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that leaves a row with the same key as it is."""
    if engine.dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


def in_chunks(subjects: Iterable[Subject]) -> Iterator[dict[str, Subject]]:
    """The subjects by id, in portions that fit into one query."""
    by_id = [(subject.subject_id, subject) for subject in subjects]
    for start in range(0, len(by_id), _MAX_IDS_PER_QUERY):
        yield dict(by_id[start : start + _MAX_IDS_PER_QUERY])
