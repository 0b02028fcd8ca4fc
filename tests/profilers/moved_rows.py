"""Rows that were measured here, as if a device had brought them that is not here."""

from typing import Literal

from sqlalchemy import Engine, update
from sqlalchemy.orm import Session

from profilers.device import Device
from profilers.latency_table import LatencyTable
from profilers.tables import LatencyRow


def move_rows(engine: Engine, device: Device, *, kind: Literal["block", "network"]) -> None:
    """Makes every row of that kind in the table the device's."""
    LatencyTable(engine).add_device(device)
    with Session(engine) as session, session.begin():
        session.execute(update(LatencyRow).where(LatencyRow.kind == kind).values(device_id=device.device_id))
