"""Core ML on this Mac, or on the iPhone or iPad on its cable: float16, on the compute units of your choice.

Models are prepared on any system; running them needs macOS. What runs them is `profilers.bundling.run_bundle`, the very
file that a bundle carries to a Mac without a checkout, so both ways time a model alike and fill the rows of one device.
coremltools' benchmarker is asked for every run by number: by itself it would take one, without warm-up.

A device on the cable needs Xcode, developer mode, and the Apple development team that signs coremltools' runner app in
the environment variable SNAPNAS_APPLE_TEAM; it is no part of the device's name, because it does not change a latency.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from profilers.backends.abstract import AbstractBackend, AbstractRunner, DeviceUnavailableError
from profilers.backends.device_options import canonical_name
from profilers.bundling.core_ml_choices import Layout, Units
from profilers.device import Device
from profilers.memory import Footprint
from profilers.subject import Subject

if TYPE_CHECKING:
    from profilers.bundling.run_bundle import CoreMLRunner, Machine

BASE_NAME = "core-ml"
TEAM_VARIABLE = "SNAPNAS_APPLE_TEAM"

_THREADS = 1  # that call Core ML; how many it uses itself is its own choice


@dataclass(frozen=True, kw_only=True)
class CoreMLOptions:
    """What can be chosen on `core-ml`."""

    units: Units = "all"
    """What Core ML may run a model on: every unit, the CPU, and the GPU or the Neural Engine beside it."""
    layout: Layout = "plain"
    """How transformers are laid out; the Neural Engine prefers split_einsum."""
    target: Literal["mac", "iphone", "ipad"] = "mac"
    """This Mac, or what is on its cable."""


class CoreMLBackend(AbstractBackend):
    """The device `core-ml`."""

    def __init__(self, options: CoreMLOptions | None = None) -> None:
        self._options = options or CoreMLOptions()
        self._events: asyncio.Runner | None = None
        self._remote: Any = None

    @property
    def device(self) -> Device:
        from profilers.bundling.run_bundle import this_machine

        with _on_macos():
            return core_ml_device(this_machine(self._options.target), self._options)

    @property
    def times_single_runs(self) -> bool:
        return False  # its benchmark runs one model many times

    @property
    def footprint(self) -> Footprint:
        """The package, what Core ML compiles of it, and what it loads of that, all in float16."""
        return Footprint(bytes_per_number=2)

    def prepare(self, subject: Subject, path: Path) -> None:
        from profilers.backends.torch_modules import one_thread
        from profilers.bundling.models import write_model
        from profilers.bundling.packing import pack

        package = path.with_name(f"{path.name}.mlpackage")
        with one_thread():
            write_model(subject, package, layout=self._options.layout)
        pack(package, path)
        shutil.rmtree(package)

    def load(self, subject: Subject, path: Path) -> AbstractRunner:
        from profilers.bundling import run_bundle

        with _on_macos():
            if self._events is None:
                run_bundle.hide_torch()
                self._events = asyncio.Runner()
                if self._options.target != "mac":  # an app is built and started on it, once
                    team = os.environ.get(TEAM_VARIABLE, "")
                    self._remote = run_bundle.connected_device(self._options.target, team, self._events)
            runner = run_bundle.load_packed(
                path, units=self._options.units, remote=self._remote, num_loads=1, events=self._events
            )
        return _CoreMLRunner(runner)


@contextmanager
def _on_macos() -> Iterator[None]:
    """Refuses every other system, and turns what the bundle's runner complains about into our own error."""
    from profilers.bundling.run_bundle import BundleError, require_macos

    if sys.platform != "darwin":
        raise DeviceUnavailableError(
            f"{BASE_NAME} was given, and Core ML runs models only on macOS",
            fix=f"python -m profilers.bundle --device {BASE_NAME} writes a folder to run on a Mac",
        )
    try:
        require_macos()
        yield
    except BundleError as error:
        raise DeviceUnavailableError(str(error)) from None


class _CoreMLRunner(AbstractRunner):
    """One loaded package."""

    def __init__(self, runner: "CoreMLRunner") -> None:
        self._runner = runner

    def run(self, num_runs: int) -> float:
        return self._runner.run(num_runs)

    @property
    def load_ms(self) -> float:
        return self._runner.load_ms[0]

    @property
    def is_remote(self) -> bool:
        return self._runner.is_remote

    @property
    def placement(self) -> Mapping[str, int] | None:
        return self._runner.placement


def core_ml_device(machine: "Machine", options: CoreMLOptions) -> Device:
    """The device of a machine with these options."""
    return Device(
        name=canonical_name(BASE_NAME, options),
        backend="core_ml",
        hardware=machine.hardware,
        operating_system=machine.operating_system,
        runtime=f"Core ML of {machine.operating_system}, coremltools {machine.coremltools}",
        precision="fp16",
        threads=_THREADS,
    )
