"""What the machine was doing while it was measured: stored with every campaign, part of no key.

These facts explain a strange row afterwards. A steal time that grew during the campaign means that the host gave this
virtual machine's cores to somebody else; a governor other than "performance" means that the clock was moving.
"""

import dataclasses
import datetime
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path

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
    load_average: float | None
    """Runnable processes, mean of the last minute."""
    cgroup_quota: str | None
    """The container's processor quota and period in microseconds, or "max"."""
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
    return Environment(
        recorded_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        kernel=platform.release(),
        governor=_first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        load_average=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        cgroup_quota=_first_line("/sys/fs/cgroup/cpu.max"),
        steal_s=steal_s,
        context_switches=context_switches,
        versions={"python": platform.python_version(), **dependency_versions()},
        commit=git_commit(),
    )


def _first_line(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _kernel_counters() -> tuple[float | None, int | None]:
    statistics = _first_line("/proc/stat")
    if statistics is None:
        return None, None
    lines = {words[0]: words[1:] for words in map(str.split, statistics.splitlines())}
    ticks_per_second = os.sysconf("SC_CLK_TCK")
    return int(lines["cpu"][7]) / ticks_per_second, int(lines["ctxt"][0])  # the eighth column of "cpu" is steal
