"""ExecuTorch with its XNNPACK delegate on this machine's processor: the `.pte` that runs here also runs on phones.

ExecuTorch's Python runtime cannot start without torch's libraries, so this worker holds torch. It computes nothing with
it but the inputs, once: torch's threads are never started, the worker's own are counted by the tests. ExecuTorch's
exporter is never imported here, which the public `executorch.runtime` would do on the way (9 seconds of processor time
against 2 for torch alone).

A timed run copies its inputs into the program's memory, as an app does, because a program may write over them.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from profilers.backends.abstract import AbstractBackend, AbstractRunner, DeviceUnavailableError
from profilers.backends.device_options import canonical_name, check_threads
from profilers.device import Device, host_hardware, host_operating_system
from profilers.memory import Footprint
from profilers.subject import Subject

if TYPE_CHECKING:
    from executorch.extension.pybindings._C import ExecuTorchProgram


@dataclass(frozen=True, kw_only=True)
class ExecuTorchOptions:
    """What can be chosen on `host-executorch`."""

    threads: int = 1
    """Of one operator that XNNPACK runs."""

    def __post_init__(self) -> None:
        check_threads(self.threads)


class ExecuTorchBackend(AbstractBackend):
    """The device `host-executorch`."""

    def __init__(self, options: ExecuTorchOptions | None = None) -> None:
        self._options = options or ExecuTorchOptions()
        self._version = _installed_version()

    @property
    def device(self) -> Device:
        return Device(
            name=canonical_name("host-executorch", self._options),
            backend="executorch_xnnpack",
            hardware=host_hardware(),
            operating_system=host_operating_system(),
            runtime=f"executorch {self._version} XNNPACK",
            precision="fp32",
            threads=self._options.threads,
        )

    @property
    def footprint(self) -> Footprint:
        """Attention is written out for XNNPACK, which has no kernel for all of it."""
        return Footprint(writes_scores=True)

    def prepare(self, subject: Subject, path: Path) -> None:
        from deploy.to_executorch import export_executorch
        from profilers.backends.torch_modules import build_module, one_thread

        with one_thread():
            delegation = export_executorch(*build_module(subject), path)
        placement = {"XNNPACK": delegation.num_delegated, "portable": delegation.num_portable}
        _placement_path(path).write_text(json.dumps(placement))

    def load(self, subject: Subject, path: Path) -> AbstractRunner:
        import torch  # noqa: F401 - the runtime finds its symbols in torch's libraries
        from executorch.extension.pybindings import _C as runtime

        if runtime._threadpool_get_thread_count() != self._options.threads:
            runtime._unsafe_reset_threadpool(self._options.threads)
        program = runtime._load_program(str(path))
        return _ExecuTorchRunner(program, placement=json.loads(_placement_path(path).read_text()))


class _ExecuTorchRunner(AbstractRunner):
    """One program with its inputs at hand."""

    def __init__(self, program: "ExecuTorchProgram", *, placement: Mapping[str, int]) -> None:
        import torch

        self._placement = placement
        self._method = program.load_method("forward")
        meta = self._method.method_meta()
        generator = torch.Generator().manual_seed(0)
        shapes = [meta.input_tensor_meta(index).sizes() for index in range(meta.num_inputs())]
        self._inputs = [torch.randn(shape, generator=generator) for shape in shapes]

    def run(self, num_runs: int) -> float:
        start_s = time.perf_counter()
        for _ in range(num_runs):
            self._method.set_inputs(self._inputs)
            self._method.execute()
        return time.perf_counter() - start_s

    @property
    def placement(self) -> Mapping[str, int]:
        return self._placement


def _placement_path(path: Path) -> Path:
    """Where `prepare` leaves for the worker what only the exporter knows."""
    return path.with_name(f"{path.name}.placement.json")


def _installed_version() -> str:
    try:
        return version("executorch")
    except PackageNotFoundError as error:
        raise DeviceUnavailableError("host-executorch needs ExecuTorch", fix="pip install executorch") from error
