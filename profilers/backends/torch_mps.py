"""torch on the graphics processor of a Mac (Metal), eager, in float32 or float16.

The clock is the processor's, from the first launch until the queue is empty.
"""

import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from profilers.backends.abstract import AbstractBackend, AbstractRunner, DeviceUnavailableError
from profilers.backends.device_options import canonical_name
from profilers.device import Device, host_hardware, host_macos
from profilers.memory import BYTES_PER_NUMBER, Footprint
from profilers.subject import Subject

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class TorchMpsOptions:
    """What can be chosen on `mps-torch`."""

    precision: Literal["fp32", "fp16"] = "fp32"
    """Of weights and activations."""


class TorchMpsBackend(AbstractBackend):
    """The device `mps-torch`."""

    def __init__(self, options: TorchMpsOptions | None = None) -> None:
        self._options = options or TorchMpsOptions()
        _check_metal()

    @property
    def device(self) -> Device:
        import torch

        return Device(
            name=canonical_name("mps-torch", self._options),
            backend="torch_mps",
            hardware=f"{host_hardware()}, {torch.backends.mps.get_core_count()} GPU cores",
            operating_system=host_macos(),
            runtime=f"torch {version('torch').partition('+')[0]} MPS eager, Python {platform.python_version()}",
            precision=self._options.precision,
            threads=1,
        )

    @property
    def times_single_runs(self) -> bool:
        return False  # runs are queued: the next begins before the last is reported

    @property
    def footprint(self) -> Footprint:
        """Three copies even so: the module is built in float32, in the memory that both processors share."""
        return Footprint(bytes_per_number=BYTES_PER_NUMBER[self._options.precision])

    def prepare(self, subject: Subject, path: Path) -> None:
        pass  # the worker builds the module itself

    def load(self, subject: Subject, path: Path) -> AbstractRunner:
        from profilers.backends.torch_modules import build_on

        return _MpsRunner(*build_on(subject, "mps", self._options.precision))


class _MpsRunner(AbstractRunner):
    """One module and its inputs in the graphics processor's memory."""

    def __init__(self, module: "nn.Module", inputs: "tuple[Tensor, ...]") -> None:
        self._module = module
        self._inputs = inputs

    def run(self, num_runs: int) -> float:
        import torch

        torch.mps.synchronize()
        with torch.inference_mode():
            start_s = time.perf_counter()
            for _ in range(num_runs):
                self._module(*self._inputs)
            torch.mps.synchronize()
            return time.perf_counter() - start_s


def _check_metal() -> None:
    import torch

    if not torch.backends.mps.is_available():
        raise DeviceUnavailableError(
            "mps-torch needs a Mac with Apple silicon, and torch sees none here",
            allowed="the other devices that `python -m profilers.measure --help` names",
            fix="run it on a Mac with macOS 14 or later; on this machine take host-torch",
        )
