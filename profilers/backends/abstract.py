"""What every kind of device offers to the measuring protocol.

A backend works in two processes. The parent, which may import torch, calls `prepare` to write what the device needs;
the worker, which measures and nothing else, calls `load` and then runs the result again and again. When to warm up, how
often to run and in which order is the protocol's business, the same for every backend.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

from profilers.device import Device
from profilers.memory import MIN_GROUP_BYTES, Footprint, PeakMemory, available_bytes, roomy_group_bytes
from profilers.subject import Subject
from search_space.errors import UsageError


class DeviceUnavailableError(UsageError):
    """The device is known, but not on this machine: no such hardware, or a package is not installed."""


class AbstractRunner(ABC):
    """One block or network, loaded with its weights and inputs, ready to run at batch size 1."""

    @abstractmethod
    def run(self, num_runs: int) -> float:
        """Runs it `num_runs` times one after another, waits for the last result, and returns the seconds it took."""

    @property
    def is_remote(self) -> bool:
        """Whether every run is sent to another device, which takes seconds that are not timed."""
        return False

    @property
    def load_ms(self) -> float | None:
        """How long loading took by the runtime's own clock; None where it has none, and the worker's counts."""
        return None

    @property
    def placement(self) -> Mapping[str, int] | None:
        """How many nodes of the graph each provider or delegate took; None where the runtime does not tell."""
        return None


class AbstractBackend(ABC):
    """One way to run a block on one device."""

    @property
    @abstractmethod
    def device(self) -> Device:
        """The device as it is on this machine, now."""

    @property
    def times_single_runs(self) -> bool:
        """Whether one run can be timed by itself, so that blocks can run in turn; not on a GPU or a coarse clock."""
        return True

    def free_bytes(self) -> int | None:
        """The memory that is left for what is loaded; None where nobody tells."""
        return available_bytes()

    @property
    def footprint(self) -> Footprint:
        """What a subject takes of that memory."""
        return Footprint()

    @property
    def max_loaded_bytes(self) -> int:
        """How many bytes of weights to load at once; a browser's tab has a memory of which nothing is known here."""
        return roomy_group_bytes(self.free_bytes()) if self.times_single_runs else MIN_GROUP_BYTES

    def watch_memory(self) -> Callable[[], float | None]:
        """From now on; what it returns says by how many MiB the peak has grown. None where the system does not tell."""
        return PeakMemory().growth_mib

    @abstractmethod
    def prepare(self, subject: Subject, path: Path) -> None:
        """Writes what `load` opens to `path`, if anything. Weights are random: latency does not depend on them."""

    @abstractmethod
    def load(self, subject: Subject, path: Path) -> AbstractRunner:
        """Loads one subject. An exception means that this device cannot run it."""
