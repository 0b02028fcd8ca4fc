"""ONNX Runtime on this machine: a fixed number of threads that never spin, float32 or int8, any execution provider.

ONNX Runtime's idle threads spin for a while by default and so steal the cores from the next session: the sum of a
network's blocks was then 322 % off. Inputs and outputs are bound once, so that a timed run moves nothing but numbers
inside the network. All sessions take their intermediate tensors from one arena, as all blocks of a network do: with an
arena for each, a block found its own cold, and the sum was 3 % higher. The worker never imports torch, whose threads
would disturb it as well.

int8 is ONNX Runtime's dynamic quantization: the weights of convolutions and matrix products are stored as eight bits,
activations are quantized while the network runs. Both are unsigned here: with signed weights, processors without VNNI
instructions saturate in their sums, and blocks of the tiny space were 5 to 10 % off instead of 0.5 %.

A provider takes the nodes it can run and leaves the others to the processor; `placement` says how many each took.
fp32 is the number format of the model. Providers that would compute in a smaller one are told not to; of those about
which nobody here knows, the device's record says that they decide for themselves.
"""

import dataclasses
import functools
import logging
import os
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from profilers.backends.abstract import AbstractBackend, AbstractRunner, DeviceUnavailableError
from profilers.backends.device_options import canonical_name, check_threads, did_you_mean
from profilers.bundling.run_bundle import with_gpu_cores
from profilers.defaults import DEFAULT_DEVICE
from profilers.device import Device, host_hardware, host_macos, host_operating_system
from profilers.graphics_card import ask_nvidia_smi
from profilers.memory import Footprint
from profilers.subject import Subject
from search_space.errors import UsageError

if TYPE_CHECKING:
    import onnxruntime

_CPU = "CPUExecutionProvider"
_CORE_ML = "CoreMLExecutionProvider"
_MEMORY_OF_PROVIDER = {"CUDAExecutionProvider": "cuda", "TensorrtExecutionProvider": "cuda"}
"""Where inputs and outputs lie, so that no timed run copies them; the processor's memory for all other providers."""
_ON_THIS_PROCESSOR = (_CPU, "OpenVINOExecutionProvider", "XnnpackExecutionProvider")
"""Providers whose run has ended when it returns, so that one can be timed by itself."""
_IN_THE_MODEL_S_FORMAT = (*_ON_THIS_PROCESSOR, *_MEMORY_OF_PROVIDER, _CORE_ML)
"""Providers that compute in the number format of the model, some of them because `load` tells them so."""


@dataclass(frozen=True, kw_only=True)
class OnnxRuntimeOptions:
    """What can be chosen on `host-onnxruntime`."""

    threads: int = 1
    """Of one operator. A small UNet's blocks are short: waking a second thread costs more than it saves."""
    precision: Literal["fp32", "int8"] = "fp32"
    """int8: dynamic quantization."""
    provider: str = "cpu"
    """An execution provider's name without its ending: cpu, cuda, coreml, openvino, xnnpack, qnn..."""

    def __post_init__(self) -> None:
        check_threads(self.threads)


class OnnxRuntimeBackend(AbstractBackend):
    """The device `host-onnxruntime`."""

    def __init__(self, options: OnnxRuntimeOptions | None = None) -> None:
        options = options or OnnxRuntimeOptions()
        self._options = dataclasses.replace(options, provider=options.provider.lower())
        self._provider = _CPU if self._options.provider == "cpu" else _available_provider(options.provider)

    @property
    def device(self) -> Device:
        import onnxruntime

        arithmetic = "" if self._provider in _IN_THE_MODEL_S_FORMAT else ", which may compute in another number format"
        return Device(
            name=canonical_name(DEFAULT_DEVICE, self._options),
            backend="onnx_runtime",
            hardware=self._hardware,
            operating_system=host_macos() if self._provider == _CORE_ML else host_operating_system(),
            runtime=f"onnxruntime {onnxruntime.__version__} {self._provider}{arithmetic}",
            precision=self._options.precision,
            threads=self._options.threads,
        )

    @property
    def times_single_runs(self) -> bool:
        return self._provider in _ON_THIS_PROCESSOR

    def free_bytes(self) -> int | None:
        return self._card.memory_bytes if self._is_on_card else super().free_bytes()

    @property
    def footprint(self) -> Footprint:
        """On a card the weights, and as much again: the arena doubles when it grows, and TensorRT builds a copy."""
        return Footprint(weight_copies=2 if self._is_on_card else Footprint.weight_copies, writes_scores=True)

    @property
    def _hardware(self) -> str:
        if self._is_on_card:  # the processor launches a card's kernels, and leaves gaps where it is the slower one
            return f"{self._card.name}, {host_hardware()}"
        return with_gpu_cores(host_hardware()) if self._provider == _CORE_ML else host_hardware()

    @property
    def _is_on_card(self) -> bool:
        return self._provider in _MEMORY_OF_PROVIDER

    @cached_property
    def _card(self) -> "_Card":
        return _first_card()

    def prepare(self, subject: Subject, path: Path) -> None:
        from profilers.backends.onnx_files import export_subject

        if self._options.precision == "fp32":
            export_subject(subject, path)
            return
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            float_path = Path(folder) / "float.onnx"
            export_subject(subject, float_path)
            _quantize(float_path, path)

    def load(self, subject: Subject, path: Path) -> AbstractRunner:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._options.threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")  # for `placement`
        _share_arena()
        if self._is_on_card:
            os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # as nvidia-smi counts, which has named the card
            os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # for TensorRT, which takes TF32 and has no option against it
            onnxruntime.preload_dlls()  # CUDA's libraries, where pip installed them
        providers = list(dict.fromkeys((self._provider, _CPU)))
        provider_options = [_provider_options(provider, self._options.threads) for provider in providers]
        session = onnxruntime.InferenceSession(path, options, providers, provider_options)
        if session.get_providers()[0] != self._provider:  # it falls back with no more than a line in the log
            raise DeviceUnavailableError(f"{self._provider} could not be started", fix="see the line it logged")
        return _OnnxRunner(session, memory=_MEMORY_OF_PROVIDER.get(self._provider, "cpu"))


@functools.cache
def _share_arena() -> None:
    """Registers, once in a process, the arena that sessions with `use_env_allocators` share."""
    import onnxruntime

    kind, memory = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, onnxruntime.OrtMemType.DEFAULT
    onnxruntime.create_and_register_allocator(onnxruntime.OrtMemoryInfo("Cpu", kind, 0, memory), None)


class _OnnxRunner(AbstractRunner):
    """One session with its inputs and outputs bound."""

    def __init__(self, session: "onnxruntime.InferenceSession", *, memory: str) -> None:
        import numpy
        import onnxruntime

        generator = numpy.random.default_rng(0)
        self._session = session
        self._binding = session.io_binding()
        for graph_input in session.get_inputs():
            array = generator.standard_normal(graph_input.shape).astype(numpy.float32)
            value = onnxruntime.OrtValue.ortvalue_from_numpy(array, memory, 0)
            self._binding.bind_ortvalue_input(graph_input.name, value)
        for output in session.get_outputs():
            buffer = onnxruntime.OrtValue.ortvalue_from_shape_and_type(output.shape, numpy.float32, memory, 0)
            self._binding.bind_ortvalue_output(output.name, buffer)

    def run(self, num_runs: int) -> float:
        start_s = time.perf_counter()
        for _ in range(num_runs):
            self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()
        return time.perf_counter() - start_s

    @cached_property
    def placement(self) -> Mapping[str, int]:
        num_nodes: Counter[str] = Counter()
        for subgraph in self._session.get_provider_graph_assignment_info():
            num_nodes[subgraph.ep_name] += len(subgraph.get_nodes())
        return dict(num_nodes)


def _provider_options(provider: str, threads: int) -> dict[str, str]:
    """What a provider would do otherwise than the device says: fp32 is float32, and threads are as many as given."""
    match provider:
        case "CUDAExecutionProvider":
            return {"use_tf32": "0"}
        case "CoreMLExecutionProvider":  # a network of the older format computes in float16 wherever it can
            return {"ModelFormat": "MLProgram"}
        case "OpenVINOExecutionProvider":  # it has threads of its own; pinned ones are slow, see openvino_cpu.py
            return {"num_of_threads": str(threads), "load_config": '{"CPU": {"ENABLE_CPU_PINNING": "NO"}}'}
        case _:
            return {}


def _available_provider(short_name: str) -> str:
    """The whole name of an execution provider that this build of ONNX Runtime has."""
    import onnxruntime

    known: dict[str, str] = {_short_name(provider): provider for provider in onnxruntime.get_all_providers()}
    available = [_short_name(provider) for provider in onnxruntime.get_available_providers()]
    wanted = short_name.lower()
    if wanted in available:
        return known[wanted]
    given, allowed = f"ONNX Runtime has no provider {short_name!r} here", ", ".join(available)
    if wanted in known:
        fix = f"install the build of ONNX Runtime with {known[wanted]} instead of this one"
        raise DeviceUnavailableError(given, allowed=allowed, fix=fix)
    raise UsageError(given, allowed=allowed, fix=did_you_mean(wanted, available))


@dataclass(frozen=True, kw_only=True)
class _Card:
    """A graphics card."""

    name: str
    memory_bytes: int | None
    """All of it; None where the card shares the processor's."""


def _first_card() -> _Card:
    """The card that ONNX Runtime takes: the first one that CUDA shows to this process."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0] or "0"
    try:
        ((name, memory_mib),) = ask_nvidia_smi("name", "memory.total", card=first)
    except (OSError, subprocess.SubprocessError) as error:
        raise DeviceUnavailableError(f"nvidia-smi does not name a card: {error}", fix="run nvidia-smi") from error
    return _Card(name=name, memory_bytes=int(memory_mib) * 2**20 if memory_mib.isdigit() else None)


def _short_name(provider: str) -> str:
    return provider.removesuffix("ExecutionProvider").lower()


def _quantize(float_path: Path, path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    has_data_file = float_path.with_name(f"{float_path.name}.data").exists()
    with _advice_silenced():
        quantize_dynamic(float_path, path, weight_type=QuantType.QUInt8, use_external_data_format=has_data_file)


@contextmanager
def _advice_silenced() -> Iterator[None]:
    """Hides the advice to fold constants first: our graphs come folded from the exporter."""

    def is_news(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Please consider to run pre-processing")

    root = logging.getLogger()
    root.addFilter(is_news)
    try:
        yield
    finally:
        root.removeFilter(is_news)
