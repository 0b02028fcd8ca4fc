"""torch on this machine's processor: float32, a fixed number of threads, eager or compiled.

`mode=compiled` is torch.compile with its C++ code generator; a block takes seconds to compile, a large network minutes.
"""

import os
import platform
import shutil
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from profilers.backends.abstract import AbstractBackend, AbstractRunner, DeviceUnavailableError
from profilers.backends.device_options import canonical_name, check_threads
from profilers.device import Device, host_hardware, host_operating_system
from profilers.subject import Subject

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class TorchCpuOptions:
    """What can be chosen on `host-torch`."""

    threads: int = 1
    """Of one operator. A small UNet's blocks are short: waking a second thread costs more than it saves."""
    mode: Literal["eager", "compiled"] = "eager"
    """compiled: through torch.compile."""

    def __post_init__(self) -> None:
        check_threads(self.threads)


class TorchCpuBackend(AbstractBackend):
    """The device `host-torch`."""

    def __init__(self, options: TorchCpuOptions | None = None) -> None:
        self._options = options or TorchCpuOptions()
        if self._options.mode == "compiled":
            _check_compiler()

    @property
    def device(self) -> Device:
        return Device(
            name=canonical_name("host-torch", self._options),
            backend="torch_cpu",
            hardware=host_hardware(),
            operating_system=host_operating_system(),
            runtime=f"torch {version('torch')} {self._options.mode}, Python {platform.python_version()}",
            precision="fp32",
            threads=self._options.threads,
        )

    def prepare(self, subject: Subject, path: Path) -> None:
        pass  # the worker builds the module itself

    def load(self, subject: Subject, path: Path) -> AbstractRunner:
        import torch

        from profilers.backends.torch_modules import build_module, compiled

        torch.set_num_threads(self._options.threads)
        module, inputs = build_module(subject)
        return _TorchRunner(compiled(module, inputs) if self._options.mode == "compiled" else module, inputs)


class _TorchRunner(AbstractRunner):
    """One module and its inputs."""

    def __init__(self, module: "nn.Module", inputs: "tuple[Tensor, ...]") -> None:
        self._module = module
        self._inputs = inputs

    def run(self, num_runs: int) -> float:
        import torch

        with torch.inference_mode():
            start_s = time.perf_counter()
            for _ in range(num_runs):
                self._module(*self._inputs)
            return time.perf_counter() - start_s


def _check_compiler() -> None:
    compiler = os.environ.get("CXX", "clang++" if platform.system() == "Darwin" else "g++")  # what torch looks for
    if shutil.which(compiler) is None:
        raise DeviceUnavailableError(
            f"host-torch:mode=compiled needs a C++ compiler, and there is no {compiler}",
            fix="install g++ or clang++, or name another one in the environment variable CXX",
        )
