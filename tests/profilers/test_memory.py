import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from profilers.memory import (
    MAX_GROUP_BYTES,
    MAX_PREPARED_BYTES,
    MIN_GROUP_BYTES,
    Footprint,
    PeakMemory,
    available_bytes,
    lacks_memory,
    roomy_disk_bytes,
    roomy_group_bytes,
)

MIB = 2**20


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("limits", "free_mib"),
    [
        ({}, 1000),
        ({"sys/fs/cgroup/memory.max": "max", "sys/fs/cgroup/memory.current": "5"}, 1000),
        ({"sys/fs/cgroup/memory.max": str(500 * MIB), "sys/fs/cgroup/memory.current": str(100 * MIB)}, 400),
        (
            {
                "sys/fs/cgroup/memory/memory.limit_in_bytes": str(300 * MIB),
                "sys/fs/cgroup/memory/memory.usage_in_bytes": str(100 * MIB),
            },
            200,
        ),
        (
            {
                "sys/fs/cgroup/memory.max": str(500 * MIB),
                "sys/fs/cgroup/memory.current": str(499 * MIB),
                "sys/fs/cgroup/memory.stat": f"anon {99 * MIB}\ninactive_file {300 * MIB}\nactive_file {50 * MIB}\n",
            },
            351,
        ),
        (
            {
                "sys/fs/cgroup/memory/memory.limit_in_bytes": str(300 * MIB),
                "sys/fs/cgroup/memory/memory.usage_in_bytes": str(300 * MIB),
                "sys/fs/cgroup/memory/memory.stat": "inactive_file 0\nactive_file 0\n"  # without the groups within
                f"total_inactive_file {100 * MIB}\ntotal_active_file {50 * MIB}\n",
            },
            150,
        ),
    ],
)
def test_the_narrowest_limit_counts_and_page_cache_is_free(
    tmp_path: Path, limits: dict[str, str], free_mib: int
) -> None:
    write(tmp_path, "proc/meminfo", f"MemTotal: 9999999 kB\nMemAvailable: {1000 * 1024} kB\n")
    for name, text in limits.items():
        write(tmp_path, name, text)
    assert available_bytes(tmp_path) == free_mib * MIB


def test_this_machine_tells_what_is_free() -> None:
    free_bytes = available_bytes()
    assert free_bytes is not None
    assert free_bytes > 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_sees_what_was_taken_and_given_back() -> None:
    memory = PeakMemory()
    taken = bytearray(64 * MIB)
    taken[::4096] = bytes(len(taken[::4096])).replace(b"\0", b"\1")
    del taken
    growth_mib = memory.growth_mib()
    assert growth_mib is not None
    assert growth_mib >= 60


def test_a_mac_tells_a_peak_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    peaks_bytes = iter([100 * MIB, 164 * MIB])
    monkeypatch.setattr(Path, "write_text", Mock(side_effect=FileNotFoundError))  # there is no /proc
    monkeypatch.setattr("profilers.memory.sys", Mock(platform="darwin"))
    monkeypatch.setattr(resource, "getrusage", lambda _: Mock(ru_maxrss=next(peaks_bytes)))
    assert PeakMemory().growth_mib() == 64


@pytest.mark.parametrize(
    ("reason", "is_told"),
    [
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.", True),
        ("RuntimeError: MPS backend out of memory (MPS allocated: 8.00 GB)", True),
        ("RuntimeError: std::bad_alloc", True),
        ("MemoryError: ", True),
        ("the measuring process was killed (SIGKILL), perhaps for lack of memory", True),
        ("the measuring process did not answer within 120 s", False),
        ("RuntimeError: an illegal memory access was encountered", False),
        ("ValueError: num_channels must be divisible by num_groups", False),
    ],
)
def test_an_error_s_words_tell_whether_memory_was_lacking(reason: str, is_told: bool) -> None:
    assert lacks_memory(reason) == is_told


def test_what_is_loaded_and_prepared_at_once_leaves_half_of_memory_and_disk_alone() -> None:
    free_bytes, much, copies = 20 * 2**30, 2**50, Footprint.weight_copies
    assert roomy_group_bytes(None) == roomy_group_bytes(0) == roomy_disk_bytes(0) == MIN_GROUP_BYTES
    assert free_bytes / 2 - copies < roomy_group_bytes(free_bytes) * copies <= free_bytes / 2
    assert roomy_disk_bytes(free_bytes) == free_bytes // 2
    assert (roomy_group_bytes(much), roomy_disk_bytes(much)) == (MAX_GROUP_BYTES, MAX_PREPARED_BYTES)
