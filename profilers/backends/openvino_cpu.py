"""OpenVINO on this machine's processor: one stream for the lowest latency, and a precision that is always said.

Left to itself OpenVINO picks the fastest number format a processor has, bfloat16 on one and float32 on the next, and
networks then come out in another order (Spearman 0.82 between the two on one machine). So the precision is set, and a
compiled model that says it will run in another one is refused: OpenVINO takes a request for bfloat16 without a word on
a processor that has none, and runs float32.

Threads are not bound to cores. Bound, every model of the process waits for the same one: on a busy machine blocks took
1.1 to 1.7 times as long, and the first one after another runtime's turn forty times.

It reads the same ONNX files as ONNX Runtime does. Python adds about 0.03 ms to a run.
"""

import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from profilers.backends.abstract import AbstractBackend, AbstractRunner, DeviceUnavailableError
from profilers.backends.device_options import canonical_name, check_threads
from profilers.device import Device, host_hardware, host_operating_system
from profilers.subject import Subject

if TYPE_CHECKING:
    import openvino


@dataclass(frozen=True, kw_only=True)
class OpenVinoOptions:
    """What can be chosen on `host-openvino`."""

    threads: int = 1
    """Of one operator."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """What matrix products and convolutions are computed in; bf16 on processors that have it."""

    def __post_init__(self) -> None:
        check_threads(self.threads)


class OpenVinoBackend(AbstractBackend):
    """The device `host-openvino`."""

    def __init__(self, options: OpenVinoOptions | None = None) -> None:
        self._options = options or OpenVinoOptions()
        self._version = _installed_version()
        if self._options.precision == "bf16":
            _check_bf16()

    @property
    def device(self) -> Device:
        return Device(
            name=canonical_name("host-openvino", self._options),
            backend="openvino_cpu",
            hardware=host_hardware(),
            operating_system=host_operating_system(),
            runtime=f"openvino {self._version} CPU",
            precision=self._options.precision,
            threads=self._options.threads,
        )

    def prepare(self, subject: Subject, path: Path) -> None:
        from profilers.backends.onnx_files import export_subject

        export_subject(subject, path)

    def load(self, subject: Subject, path: Path) -> AbstractRunner:
        import openvino
        from openvino.properties import hint, inference_num_threads, num_streams

        precision = {"fp32": openvino.Type.f32, "bf16": openvino.Type.bf16}[self._options.precision]
        properties = {
            hint.inference_precision: precision,
            hint.performance_mode: hint.PerformanceMode.LATENCY,
            num_streams: 1,
            inference_num_threads: self._options.threads,
            hint.enable_cpu_pinning: False,
        }
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(path), "CPU", properties)
        real_precision = compiled.get_property(hint.inference_precision)
        if real_precision != precision:
            raise DeviceUnavailableError(
                f"OpenVINO would run {real_precision.get_type_name()} instead of {self._options.precision}",
                fix="give another precision",
            )
        return _OpenVinoRunner(compiled)


class _OpenVinoRunner(AbstractRunner):
    """One compiled model with its inputs in place."""

    def __init__(self, compiled: "openvino.CompiledModel") -> None:
        import numpy
        import openvino

        generator = numpy.random.default_rng(0)
        self._request = compiled.create_infer_request()
        for index, model_input in enumerate(compiled.inputs):
            array = generator.standard_normal(tuple(model_input.shape)).astype(numpy.float32)
            self._request.set_input_tensor(index, openvino.Tensor(array))

    def run(self, num_runs: int) -> float:
        start_s = time.perf_counter()
        for _ in range(num_runs):
            self._request.infer(share_outputs=True)  # without a copy of the outputs
        return time.perf_counter() - start_s


def _installed_version() -> str:
    try:
        return version("openvino")
    except PackageNotFoundError as error:
        raise DeviceUnavailableError("host-openvino needs OpenVINO", fix="pip install openvino") from error


def _check_bf16() -> None:
    import openvino

    capabilities = openvino.Core().get_property("CPU", openvino.properties.device.capabilities)
    if "BF16" not in capabilities:
        raise DeviceUnavailableError(
            "this processor has no bfloat16, and OpenVINO would run float32 in its place",
            allowed="host-openvino:precision=fp32",
            fix="measure bf16 on a processor with AVX512-BF16 or AMX",
        )
