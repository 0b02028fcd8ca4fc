"""torch on this machine's processor: eager, float32, a fixed number of threads."""

import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from profilers.backends.abstract import AbstractBackend, AbstractRunner
from profilers.device import Device, host_hardware, host_operating_system
from profilers.subject import Subject

if TYPE_CHECKING:
    from torch import Tensor, nn

NUM_THREADS = 1  # the blocks of a small UNet are too short to share: waking a second thread costs more than it saves


class TorchCpuBackend(AbstractBackend):
    """The device `host-torch`."""

    @property
    def device(self) -> Device:
        return Device(
            name="host-torch",
            backend="torch_cpu",
            hardware=host_hardware(),
            operating_system=host_operating_system(),
            runtime=f"torch {version('torch')} eager, Python {platform.python_version()}",
            precision="fp32",
            threads=NUM_THREADS,
        )

    def prepare(self, subject: Subject, path: Path) -> None:
        pass  # the worker builds the module itself

    def load(self, subject: Subject, path: Path) -> AbstractRunner:
        import torch

        from profilers.backends.torch_modules import build_module

        torch.set_num_threads(NUM_THREADS)
        return _TorchRunner(*build_module(subject))


class _TorchRunner(AbstractRunner):
    """One module in eager mode."""

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
