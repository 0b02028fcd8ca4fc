"""How much memory a subject needs, and how much there is: what cannot fit is known before it is tried.

A process that the kernel kills for lack of memory takes everything with it that was loaded; a machine that swaps
measures its disk. So a subject that needs more than is free becomes a row that says `does_not_fit`, with the numbers.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from profilers.subject import Subject
from search_space.arch_json import arch_from_json
from search_space.counts import Counts, count, count_block
from search_space.specs import spec_from_key

BYTES_PER_NUMBER = {"fp32": 4, "fp16": 2, "bf16": 2}
"""By the word that device records use for a number format."""
ACTIVATION_COPIES = 8
"""A block's intermediate tensors are several times what enters and leaves it."""
FIXED_BYTES = 64 * 2**20
"""The runtime itself."""
MIN_GROUP_BYTES, MAX_GROUP_BYTES = 256 * 2**20, 4 * 2**30
"""Of weights that are loaded at once: even where little is free, and where there is very much."""
MAX_PREPARED_BYTES = 16 * 2**30
"""Of weights on the disk at once: what a killed campaign has to prepare again."""
_MIB = 2**20
_LACK_OF_MEMORY = re.compile("(out|lack) of memory|MemoryError|alloc", re.IGNORECASE)
_CGROUP_LIMITS = (  # what a container may use, and what it uses: version 2, then version 1
    ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current"),
    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """How a runtime holds a subject in the memory that `AbstractBackend.free_bytes` speaks of."""

    weight_copies: int = 3
    """The file's bytes, the graph's tensors and the runtime's own packed layout of them."""
    bytes_per_number: int = 4
    """Of weights and activations: 4 in float32, 2 in float16."""


def counts_of(subject: Subject, *, bytes_per_number: int = 4) -> Counts:
    match subject.kind:
        case "block":
            return count_block(spec_from_key(subject.text), bytes_per_number=bytes_per_number)
        case "network":
            return count(arch_from_json(subject.text), bytes_per_number=bytes_per_number)


def needed_bytes(subject: Subject, footprint: Footprint) -> int:
    """What loading and running the subject takes, a generous guess from its counts."""
    counts = counts_of(subject, bytes_per_number=footprint.bytes_per_number)
    return footprint.weight_copies * counts.weight_bytes + ACTIVATION_COPIES * counts.activation_bytes + FIXED_BYTES


def available_bytes(root: Path = Path("/")) -> int | None:
    """What the machine and the container leave free; None where the system does not tell."""
    left = [_machine_bytes(root), *(_cgroup_bytes(root, *names) for names in _CGROUP_LIMITS)]
    known = [value for value in left if value is not None]
    return min(known) if known else None


def reason_not_to_fit(subject: Subject, free_bytes: int | None, footprint: Footprint) -> str | None:
    """Why the subject cannot be loaded, in numbers; None if it can."""
    if free_bytes is None or needed_bytes(subject, footprint) <= free_bytes:
        return None
    counts = counts_of(subject, bytes_per_number=footprint.bytes_per_number)
    return (
        f"needs about {needed_bytes(subject, footprint) / _MIB:.0f} MiB, {free_bytes / _MIB:.0f} MiB are free: "
        f"{footprint.weight_copies} x {counts.weight_bytes / _MIB:.0f} MiB of weights, "
        f"{ACTIVATION_COPIES} x {counts.activation_bytes / _MIB:.0f} MiB of activations"
    )


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


def portions(subjects: Sequence[Subject], max_bytes: int) -> Iterator[list[Subject]]:
    """The subjects in portions whose weights are no more than so many bytes together."""
    portion: list[Subject] = []
    portion_bytes = 0
    for subject in subjects:
        subject_bytes = counts_of(subject).weight_bytes
        if portion and portion_bytes + subject_bytes > max_bytes:
            yield portion
            portion, portion_bytes = [], 0
        portion.append(subject)
        portion_bytes += subject_bytes
    if portion:
        yield portion


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
    if not path.is_file():
        return None
    for line in path.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    return None


def _cgroup_bytes(root: Path, limit_name: str, usage_name: str) -> int | None:
    try:
        limit, usage = ((root / name).read_text().strip() for name in (limit_name, usage_name))
    except OSError:
        return None
    return int(limit) - int(usage) if limit.isdigit() else None  # "max": no limit
