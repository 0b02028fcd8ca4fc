"""Whether the machine is too hot to be measured: `run_bundle.wait_until_cool` leaves a hot one alone before a round.

A processor that throttles is slower by an amount that depends on what ran before, which no median repairs. What a
system shows differs: Linux has thermal zones and a counter of throttlings, macOS a speed limit; a virtual machine shows
nothing, and then nothing is waited for.
"""

import sys
from pathlib import Path

from profilers.bundling.run_bundle import ThermalState, mac_thermal_state

MAX_TEMPERATURE_C = 90.0
"""Where a thermal zone names no limit of its own."""
_ZONES = "class/thermal/thermal_zone*"
_THROTTLE_COUNTERS = "devices/system/cpu/cpu*/thermal_throttle/core_throttle_count"


class Thermometer:
    """Reads the machine's sensors, and remembers how often its cores had throttled."""

    def __init__(self, root: Path = Path("/sys")) -> None:
        self._root = root
        self._num_throttled = self._throttle_count()

    def read(self) -> ThermalState:
        if sys.platform == "darwin":
            return mac_thermal_state()
        zones = [_read_zone(zone) for zone in sorted(self._root.glob(_ZONES))]
        num_throttled, earlier = self._throttle_count(), self._num_throttled
        self._num_throttled = num_throttled
        complaints = [zone.complaint for zone in zones if zone.complaint]
        if num_throttled is not None and earlier is not None and num_throttled > earlier:
            complaints.append(f"throttled {num_throttled - earlier} times")
        sensors = [sensor for zone in zones for sensor in zone.sensors]
        if num_throttled is not None:
            sensors.append(f"throttled since boot: {num_throttled}")
        return ThermalState(sensors=tuple(sensors), complaint=", ".join(complaints) or None)

    def _throttle_count(self) -> int | None:
        counters = [_read_int(path) for path in self._root.glob(_THROTTLE_COUNTERS)]
        return sum(count for count in counters if count is not None) if counters else None


def _read_zone(zone: Path) -> ThermalState:
    """One thermal zone against the lowest of its limits at which the kernel slows the processor down."""
    reading = _read_int(zone / "temp")
    if reading is None:
        return ThermalState(sensors=(), complaint=None)
    name, temperature_c = (zone / "type").read_text().strip(), reading / 1000
    limit_c = min(_passive_limits_c(zone), default=MAX_TEMPERATURE_C)
    is_hot = temperature_c >= limit_c
    return ThermalState(
        sensors=(f"{name}: {temperature_c:.0f} C",),
        complaint=f"{name} at {temperature_c:.0f} C, limit {limit_c:.0f} C" if is_hot else None,
    )


def _passive_limits_c(zone: Path) -> list[float]:
    limits = []
    for kind in zone.glob("trip_point_*_type"):
        limit = _read_int(kind.with_name(kind.name.replace("_type", "_temp")))
        if kind.read_text().strip() == "passive" and limit is not None and limit > 0:
            limits.append(limit / 1000)
    return limits


def _read_int(path: Path) -> int | None:
    """None where the file is missing or the sensor does not answer, as sleeping ones do."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
