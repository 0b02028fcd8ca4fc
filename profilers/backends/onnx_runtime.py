"""ONNX Runtime on this machine's processor: float32, a fixed number of threads that never spin.

ONNX Runtime's idle threads spin for a while by default and so steal the cores from the next session: the sum of a
network's blocks was then 322 % off. Inputs and outputs are bound once, so that a timed run moves nothing but numbers
inside the network. The worker never imports torch, whose threads would disturb it as well.
"""

import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from profilers.backends.abstract import AbstractBackend, AbstractRunner
from profilers.backends.device_options import canonical_name, check_threads
from profilers.device import Device, host_hardware, host_operating_system
from profilers.subject import Subject

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True, kw_only=True)
class OnnxRuntimeOptions:
    """What can be chosen on `host-onnxruntime`."""

    threads: int = 1
    """Of one operator. A small UNet's blocks are short: waking a second thread costs more than it saves."""

    def __post_init__(self) -> None:
        check_threads(self.threads)


class OnnxRuntimeBackend(AbstractBackend):
    """The device `host-onnxruntime`."""

    def __init__(self, options: OnnxRuntimeOptions | None = None) -> None:
        self._options = options or OnnxRuntimeOptions()

    @property
    def device(self) -> Device:
        return Device(
            name=canonical_name("host-onnxruntime", self._options),
            backend="onnx_runtime",
            hardware=host_hardware(),
            operating_system=host_operating_system(),
            runtime=f"onnxruntime {version('onnxruntime')} CPUExecutionProvider",
            precision="fp32",
            threads=self._options.threads,
        )

    def prepare(self, subject: Subject, path: Path) -> None:
        from deploy.to_onnx import export_onnx
        from profilers.backends.torch_modules import build_module, one_thread

        with one_thread():  # an export is many tiny operators, each of which would wait for a second thread
            module, inputs = build_module(subject)
            input_names = [f"input_{index}" for index in range(len(inputs))]
            export_onnx(module, inputs, path, input_names=input_names, output_names=["output"])

    def load(self, subject: Subject, path: Path) -> AbstractRunner:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._options.threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        return _OnnxRunner(onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]))


class _OnnxRunner(AbstractRunner):
    """One session with its inputs and outputs bound."""

    def __init__(self, session: "onnxruntime.InferenceSession") -> None:
        import numpy
        import onnxruntime

        generator = numpy.random.default_rng(0)
        self._session = session
        self._binding = session.io_binding()
        for graph_input in session.get_inputs():
            array = generator.standard_normal(graph_input.shape).astype(numpy.float32)
            self._binding.bind_ortvalue_input(graph_input.name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        for output in session.get_outputs():
            buffer = onnxruntime.OrtValue.ortvalue_from_shape_and_type(output.shape, numpy.float32)
            self._binding.bind_ortvalue_output(output.name, buffer)

    def run(self, num_runs: int) -> float:
        start_s = time.perf_counter()
        for _ in range(num_runs):
            self._session.run_with_iobinding(self._binding)
        return time.perf_counter() - start_s
