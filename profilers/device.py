"""The device a latency belongs to: hardware, system, runtime, version, precision, threads.

A number never travels alone. Two measurements mix only if their devices are equal field by field, which is what
`device_id` says in twelve digits: runtimes rank networks differently (Spearman 0.82 between two precisions of one
runtime on one machine), so a table of one device says nothing certain about another.
"""

import dataclasses
import functools
import hashlib
import json
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Device:
    """Everything that keys a row of the latency table."""

    name: str
    """What a user types: host-onnxruntime, host-torch, exact."""
    backend: str
    """The file of `profilers.backends` that measures on it."""
    hardware: str
    """The processor's model as the system names it, and its cores."""
    operating_system: str
    """System and machine type; the version only where the system itself runs the network."""
    runtime: str
    """The library that runs the network, with its version."""
    precision: str
    """The number format of weights and activations: fp32, fp16, int8."""
    threads: int
    """How many threads one operator may use."""
    is_estimate: bool = False
    """Whether the milliseconds come from a formula instead of a clock; shown wherever they are shown."""

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))

    @functools.cached_property
    def device_id(self) -> str:
        """The first 12 hex digits of the sha256 of the record's sorted JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]


def host_hardware() -> str:
    """This machine's processor and how many cores this process may use: "AMD EPYC, 2 cores"."""
    return f"{_processor_model()}, {num_usable_cores()} cores"


def host_operating_system() -> str:
    return f"{platform.system()} {platform.machine()}"


def host_macos() -> str:
    """This Mac's system with its version, for what runs on Metal or Core ML, which change with it."""
    return f"macOS {platform.mac_ver()[0]} {platform.machine()}"


def num_usable_cores() -> int:
    """The cores this process may run on, which a container or `taskset` can make fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # Linux only
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def _processor_model() -> str:
    match platform.system():
        case "Linux":
            for line in Path("/proc/cpuinfo").read_text().splitlines():
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
            return platform.machine()  # ARM kernels print no model name
        case "Darwin":
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        case _:
            return platform.processor()
