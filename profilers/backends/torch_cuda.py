"""torch on an NVIDIA graphics card: eager, compiled or as CUDA graphs, in float32, float16 or bfloat16.

The clock is the card's own: two events in the stream around the runs. The stream is empty when a sample begins, so the
first event is reached at once, and the processor's time to launch the first kernel is in the sample, as are the gaps
between kernels where the processor is the slower one. Within a CUDA graph there are no such gaps, because a captured
run is launched as one; the first launch counts there as well.

float32 is float32: left to itself torch runs convolutions in TF32 on most cards, and so the name would not say what
was measured.
"""

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from profilers.backends.abstract import AbstractBackend, AbstractRunner, DeviceUnavailableError
from profilers.backends.device_options import canonical_name
from profilers.device import Device, host_hardware, host_operating_system
from profilers.memory import BYTES_PER_NUMBER, Footprint, roomy_group_bytes
from profilers.subject import Subject

_RUNS_BEFORE_CAPTURE = 3  # libraries choose kernels and allocate in the first ones, which a capture forbids


@dataclass(frozen=True, kw_only=True)
class TorchCudaOptions:
    """What can be chosen on `cuda-torch`."""

    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    """Of weights and activations."""
    mode: Literal["eager", "compiled", "graphs"] = "eager"
    """compiled: through torch.compile; graphs: captured once as a CUDA graph and replayed."""


class TorchCudaBackend(AbstractBackend):
    """The device `cuda-torch`: the first card that CUDA_VISIBLE_DEVICES leaves."""

    def __init__(self, options: TorchCudaOptions | None = None) -> None:
        self._options = options or TorchCudaOptions()
        _check_card(self._options.precision)

    @property
    def device(self) -> Device:
        import torch

        card = torch.cuda.get_device_name(0)
        versions = f"torch {torch.__version__.partition('+')[0]} CUDA {torch.version.cuda}"
        return Device(
            name=canonical_name("cuda-torch", self._options),
            backend="torch_cuda",
            hardware=f"{card}, {host_hardware()}",  # the card waits where its processor is slow to launch
            operating_system=host_operating_system(),
            runtime=f"{versions} {self._options.mode}, Python {platform.python_version()}",
            precision=self._options.precision,
            threads=1,
        )

    @property
    def times_single_runs(self) -> bool:
        return False  # runs are queued: the next begins before the last is reported

    def free_bytes(self) -> int | None:
        import torch

        # The card's own, all of it: to ask what is left of it would start a context here, which takes some.
        return int(torch.cuda.get_device_properties(0).total_memory)

    @property
    def footprint(self) -> Footprint:
        """The module's tensors and nothing else: a card has no file, and its kernels read the weights as they are."""
        return Footprint(weight_copies=1, bytes_per_number=BYTES_PER_NUMBER[self._options.precision])

    @property
    def max_loaded_bytes(self) -> int:
        return roomy_group_bytes(self.free_bytes())

    def watch_memory(self) -> Callable[[], float | None]:
        """What torch takes of the card's memory."""
        import torch

        torch.cuda.init()  # type: ignore[no-untyped-call]
        torch.cuda.reset_peak_memory_stats()
        start_bytes = torch.cuda.memory_allocated()
        return lambda: (torch.cuda.max_memory_allocated() - start_bytes) / 2**20

    def prepare(self, subject: Subject, path: Path) -> None:
        pass  # the worker builds the module itself

    def load(self, subject: Subject, path: Path) -> AbstractRunner:

        from profilers.backends.torch_modules import build_on, compiled

        _forbid_tf32()
        with _ending_with_the_card():
            module, inputs = build_on(subject, "cuda", self._options.precision)
            match self._options.mode:
                case "eager":
                    return _CudaRunner(lambda: module(*inputs))
                case "compiled":
                    fast = compiled(module, inputs)
                    return _CudaRunner(lambda: fast(*inputs))
                case "graphs":
                    return _CudaRunner(_captured(lambda: module(*inputs), pool=self._graph_pool))

    @cached_property
    def _graph_pool(self) -> Any:
        """Memory for what all graphs compute: one at a time is replayed, and nobody reads what it leaves.

        By default every graph keeps its own, so that a few hundred blocks fill a card.
        """
        import torch

        return torch.cuda.graph_pool_handle()


class _CudaRunner(AbstractRunner):
    """One way to launch a module on its inputs."""

    def __init__(self, launch: Callable[[], object]) -> None:
        import torch

        self._launch = launch
        self._start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self._end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def run(self, num_runs: int) -> float:
        import torch

        with _ending_with_the_card(), torch.inference_mode():
            self._start.record()
            for _ in range(num_runs):
                self._launch()
            self._end.record()
            self._end.synchronize()
        return float(self._start.elapsed_time(self._end)) / 1000  # from milliseconds


@contextmanager
def _ending_with_the_card() -> Iterator[None]:
    """Ends the process after an error that the card does not recover from: every subject would fail from then on."""
    import torch

    try:
        yield
    except Exception as error:
        try:
            torch.cuda.synchronize()  # after such an error this raises too; after a lack of memory it does not
        except RuntimeError:
            raise SystemExit(f"the card cannot go on in this process: {error}") from error
        raise


def _forbid_tf32() -> None:
    import torch

    # One by one: torch 2.11 has TF32 in convolutions for all that is said above them, and an environment variable
    # (TORCH_ALLOW_TF32_CUBLAS_OVERRIDE) asks for it in matrix products.
    torch.backends.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.fp32_precision = "ieee"


def _captured(launch: Callable[[], object], *, pool: Any) -> Callable[[], object]:
    """What replays the kernels of one launch; it keeps the weights and inputs alive whose addresses they hold."""
    import torch

    side_stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side_stream.wait_stream(torch.cuda.current_stream())
    with torch.inference_mode(), torch.cuda.stream(side_stream):
        for _ in range(_RUNS_BEFORE_CAPTURE):
            launch()
    torch.cuda.current_stream().wait_stream(side_stream)
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.graph(graph, pool=pool):
        launch()

    def replay(_kept: object = launch) -> None:
        graph.replay()

    return replay


def _check_card(precision: str) -> None:
    import torch

    if torch.version.cuda is None:
        raise DeviceUnavailableError(
            f"cuda-torch needs torch with CUDA, and torch {torch.__version__} has none",
            fix="install the build that https://pytorch.org/get-started/locally names for your system",
        )
    if not torch.cuda.is_available():
        raise DeviceUnavailableError(
            "cuda-torch needs an NVIDIA card, and torch sees none",
            fix="run nvidia-smi: it names the driver and the cards; CUDA_VISIBLE_DEVICES may hide them",
        )
    if precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise DeviceUnavailableError(
            f"{torch.cuda.get_device_name(0)} has no bfloat16", allowed="precision=fp32, precision=fp16"
        )
