import dataclasses
from typing import Any

import pytest

from profilers.device import Device, host_hardware, num_usable_cores


def test_json_round_trip(device: Device) -> None:
    assert Device.from_json(device.to_json()) == device


def test_every_field_changes_the_device_id(device: Device) -> None:
    ids = {device.device_id}
    for name, value in dataclasses.asdict(device).items():
        changed: dict[str, Any] = {name: f"other {value}"}
        ids.add(dataclasses.replace(device, **changed).device_id)
    assert len(ids) == 1 + len(dataclasses.fields(device))


def test_device_id_is_twelve_hex_digits(device: Device) -> None:
    assert len(device.device_id) == 12
    assert int(device.device_id, 16) >= 0


def test_host_names_its_cores() -> None:
    assert num_usable_cores() >= 1
    assert host_hardware().endswith(f", {num_usable_cores()} cores")


def test_device_cannot_change(device: Device) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        device.threads = 2  # type: ignore[misc]
