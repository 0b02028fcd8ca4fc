"""What the machine was doing while it was measured: stored with every campaign, part of no key.

These facts explain a strange row afterwards. A steal time that grew during the campaign means that the host gave this
virtual machine's cores to somebody else; a governor other than "performance" means that the clock was moving; no
sensors mean that nobody knows whether the machine was too hot.
"""

import dataclasses
import datetime
import json
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

from profilers.device import Device
from profilers.graphics_card import ask_nvidia_smi
from profilers.thermal import Thermometer
from search_space.version import dependency_versions, git_commit


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The state of the machine at one moment. None where this system does not tell."""

    recorded_at: str
    """UTC, ISO 8601."""
    kernel: str
    """The kernel's release."""
    governor: str | None
    """How the first core chooses its clock: performance, powersave, schedutil..."""
    frequencies_mhz: tuple[int, ...] | None
    """Every core's clock, lowest first."""
    sensors: tuple[str, ...]
    """What the thermal sensors read, by name; empty where the system shows none."""
    cards: tuple[str, ...]
    """Of every NVIDIA card: name, driver, degrees Celsius, megahertz of its processors, the most watts it may take."""
    is_throttled: bool | None
    """Whether the sensors said that the machine was too hot."""
    load_average: float | None
    """Runnable processes, mean of the last minute."""
    cgroup_quota: str | None
    """The container's processor quota and period in microseconds; "max" or -1 is no quota."""
    steal_s: float | None
    """Seconds since boot in which the host ran something else on this machine's cores."""
    context_switches: int | None
    """Context switches since boot, all processes."""
    versions: dict[str, str]
    """Python and the libraries that take part."""
    commit: str | None
    """The commit of the code; None outside a checkout."""

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


def record_environment() -> Environment:
    steal_s, context_switches = _kernel_counters()
    thermal = Thermometer().read()
    return Environment(
        recorded_at=_now(),
        kernel=platform.release(),
        governor=_first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        frequencies_mhz=_frequencies_mhz(),
        sensors=thermal.sensors,
        cards=_cards(),
        is_throttled=thermal.complaint is not None if thermal.sensors else None,
        load_average=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        cgroup_quota=_first_line("/sys/fs/cgroup/cpu.max") or _first_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
        steal_s=steal_s,
        context_switches=context_switches,
        versions={"python": platform.python_version(), **dependency_versions()},
        commit=git_commit(),
    )


def unknown_environment() -> Environment:
    """Of a device that measured itself elsewhere: nobody here knows more than when its results came in."""
    return Environment(
        recorded_at=_now(),
        kernel="unknown",
        governor=None,
        frequencies_mhz=None,
        sensors=(),
        cards=(),
        is_throttled=None,
        load_average=None,
        cgroup_quota=None,
        steal_s=None,
        context_switches=None,
        versions={},
        commit=None,
    )


def provenance(device: Device, *, command: str, is_here: bool = True) -> list[str]:
    """What every page of measurements opens with: the command, when, on which hardware, with which runtime.

    Of a device that measured itself elsewhere, this machine's kernel and load say nothing.
    """
    environment = record_environment()
    threads = f"{device.threads} thread{'s' if device.threads > 1 else ''}"
    hardware = f"{device.hardware}, {device.operating_system}"
    lines = [
        f"- command: `{command}`",
        f"- date: {environment.recorded_at}, commit {environment.commit or 'unknown'}",
    ]
    if not is_here:
        return [
            *lines,
            f"- hardware: {hardware}, which measured itself elsewhere",
            f"- runtime: {device.runtime}, {device.precision}, {threads}",
        ]
    return [
        *lines,
        f"- hardware: {hardware}, kernel {environment.kernel}",
        f"- runtime: {device.runtime}, {device.precision}, {threads}, Python {platform.python_version()}",
        f"- load average at the end: {environment.load_average}, governor: {environment.governor or 'not shown'}",
    ]


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _first_line(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _frequencies_mhz() -> tuple[int, ...] | None:
    paths = Path("/sys/devices/system/cpu").glob("cpu*/cpufreq/scaling_cur_freq")
    readings = [_first_line(str(path)) for path in paths]
    return tuple(sorted(int(reading) // 1000 for reading in readings if reading)) or None


def _cards() -> tuple[str, ...]:
    try:
        cards = ask_nvidia_smi("name", "driver_version", "temperature.gpu", "clocks.sm", "power.limit")
    except (OSError, subprocess.SubprocessError):
        return ()  # no NVIDIA card, or its driver does not answer
    return tuple(", ".join(card) for card in cards)


def _kernel_counters() -> tuple[float | None, int | None]:
    statistics = _first_line("/proc/stat")
    if statistics is None:
        return None, None
    lines = {words[0]: words[1:] for words in map(str.split, statistics.splitlines())}
    ticks_per_second = os.sysconf("SC_CLK_TCK")
    return int(lines["cpu"][7]) / ticks_per_second, int(lines["ctxt"][0])  # the eighth column of "cpu" is steal
