"""A device by its name: one that is here and can measure, or one whose rows in the table came from elsewhere.

A phone that measured itself in its browser and a Mac that ran a bundle leave a table and go. Their milliseconds are as
good for a search as those of this machine; only more of them cannot be had here.
"""

from dataclasses import dataclass

from profilers.backends.device_options import with_dashes
from profilers.backends.registry import is_backend_name, open_backend
from profilers.device import Device
from profilers.latency_table import LatencyTable
from search_space.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class FoundDevice:
    """A device that a name stands for."""

    device: Device
    """The device."""
    is_here: bool
    """Whether it can measure now."""


def find_device(name: str, table: LatencyTable | None) -> FoundDevice:
    """The device as it is here now, or the one that the table holds from elsewhere.

    Args:
        name: As `profilers.measure` takes it, or the name or the id of a device of the table.
        table: The latency table; None where there is none yet.

    Raises:
        UsageError: Neither is there, or the table holds several versions of it.
    """
    try:
        return FoundDevice(device=open_backend(name).device, is_here=True)
    except UsageError:
        versions = versions_in_table(name, table) if table is not None else ()
        if not versions:
            raise
    if len(versions) > 1:
        described = "; ".join(f"{version.device_id} ({version.runtime})" for version in versions)
        raise UsageError(f"the table holds {len(versions)} versions of {name}", allowed=described, fix="give an id")
    return FoundDevice(device=versions[0], is_here=is_here(versions[0]))


def is_here(device: Device) -> bool:
    """Whether this machine is the device, with the runtime and the version that it says."""
    try:
        return open_backend(device.name).device == device
    except UsageError:
        return False


def how_to_measure(device: Device, *, again: bool) -> str:
    """What to type, where the device is, for blocks that the table lacks; with `again`, for those that failed there."""
    if device.backend == "browser" and not is_backend_name(device.name):
        return f"python -m profilers.collect --name {device.name} asks it for what is missing, and for what failed"
    command = f"python -m profilers.measure --device {device.name}"
    command += " --again tries once more" if again else " measures every block of a space"
    if device.backend == "core_ml":
        bundle = "`python run_bundle.py --results again.json`" if again else "what profilers.bundle writes"
        return f"on the Mac {command}; or run {bundle} there, and import what comes back"
    return command


def versions_in_table(name: str, table: LatencyTable) -> tuple[Device, ...]:
    """Every version of a device that the table holds; one, if `name` is its id."""
    devices = table.devices()
    found = tuple(device for device in devices if name in (device.name, device.device_id))
    return found or tuple(device for device in devices if device.name == with_dashes(name))
