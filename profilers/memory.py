"""How much memory there is, how much of it to fill at once, and how much of it a process took.

Needs no installed package, so that every backend can be asked whether its device is here.
"""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

BYTES_PER_NUMBER = {"fp32": 4, "fp16": 2, "bf16": 2}
"""By the word that device records use for a number format."""
MIN_GROUP_BYTES, MAX_GROUP_BYTES = 256 * 2**20, 4 * 2**30
"""Of weights that are loaded at once: even where little is free, and where there is very much."""
MAX_PREPARED_BYTES = 16 * 2**30
"""Of weights on the disk at once: what a killed campaign has to prepare again."""
_MIB = 2**20
_LACK_OF_MEMORY = re.compile("(out|lack) of memory|MemoryError|alloc", re.IGNORECASE)
_CGROUPS = (  # what a container may use, what it uses, and what of that is page cache: version 2, then version 1
    ("sys/fs/cgroup", "memory.max", "memory.current", ("inactive_file", "active_file")),
    (
        "sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        ("total_inactive_file", "total_active_file"),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """How a runtime holds a subject in the memory that `AbstractBackend.free_bytes` speaks of."""

    weight_copies: int = 3
    """The file's bytes, the graph's tensors and the runtime's own packed layout of them."""
    bytes_per_number: int = 4
    """Of weights and activations: 4 in float32, 2 in float16."""
    writes_scores: bool = False
    """Whether attention writes down a number for each head, query and key; fused kernels hold a tile of them."""


def available_bytes(root: Path = Path("/")) -> int | None:
    """What the machine and the container leave free; None where the system does not tell."""
    left = [_machine_bytes(root), *(_cgroup_bytes(root, *names) for names in _CGROUPS)]
    known = [value for value in left if value is not None]
    return min(known) if known else None


def lacks_memory(reason: str) -> bool:
    """Whether a subject failed, perhaps, because no memory was left: runtimes tell it by their words only."""
    return _LACK_OF_MEMORY.search(reason) is not None


def roomy_group_bytes(free_bytes: int | None) -> int:
    """How many bytes of weights to load at once: many, since a round goes over them. Half of the memory stays free."""
    if free_bytes is None:
        return MIN_GROUP_BYTES
    return min(max(MIN_GROUP_BYTES, free_bytes // (2 * Footprint.weight_copies)), MAX_GROUP_BYTES)


def roomy_disk_bytes(free_bytes: int) -> int:
    """How many bytes of weights to prepare at once, which take turns in memory. Half of the disk's room stays free."""
    return min(max(MIN_GROUP_BYTES, free_bytes // 2), MAX_PREPARED_BYTES)


class PeakMemory:
    """By how much this process's peak memory grew since a moment.

    Memory that the process had freed to itself before is used again without growth, so the figure is a lower bound for
    all but the first subject of a process.
    """

    def __init__(self) -> None:
        self._start_bytes = self._reset()

    def growth_mib(self) -> float | None:
        peak_bytes = _peak_bytes()
        if peak_bytes is None or self._start_bytes is None:
            return None
        return max(peak_bytes - self._start_bytes, 0) / _MIB

    def _reset(self) -> int | None:
        try:
            Path("/proc/self/clear_refs").write_text("5")  # "5": the peak starts again at what is used now
        except OSError:  # not on Linux, or not allowed: the peak goes on
            return _peak_bytes()
        return _process_bytes("VmRSS")


def _peak_bytes() -> int | None:
    if sys.platform == "darwin":
        import resource  # which Windows lacks

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes, on other systems kilobytes
    return _process_bytes("VmHWM")


def _process_bytes(field: str) -> int | None:
    return _kilobyte_field(Path("/proc/self/status"), field)


def _machine_bytes(root: Path) -> int | None:
    if sys.platform == "darwin":  # what is in use can be compressed or dropped, so all of it counts
        return int(subprocess.run(["sysctl", "-n", "hw.memsize"], capture_output=True, check=True).stdout)
    return _kilobyte_field(root / "proc/meminfo", "MemAvailable")


def _kilobyte_field(path: Path, field: str) -> int | None:
    kilobytes = _field(path, f"{field}:")
    return None if kilobytes is None else 1024 * kilobytes


def _field(path: Path, name: str) -> int | None:
    """The number after a name, in a file with one of each a line."""
    if not path.is_file():
        return None
    for line in path.read_text().splitlines():
        words = line.split()
        if words[:1] == [name]:
            return int(words[1])
    return None


def _cgroup_bytes(
    root: Path, folder: str, limit_name: str, usage_name: str, cache_fields: tuple[str, ...]
) -> int | None:
    """What is left of a limit. Page cache counts as free: it grows up to the limit, and is dropped when it has to."""
    group = root / folder
    try:
        limit, usage = ((group / name).read_text().strip() for name in (limit_name, usage_name))
    except OSError:
        return None
    if not limit.isdigit():  # "max": no limit
        return None
    cache_bytes = sum(_field(group / "memory.stat", field) or 0 for field in cache_fields)  # gVisor has no such file
    return int(limit) - int(usage) + cache_bytes
