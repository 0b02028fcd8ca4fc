"""Writes a torch module as an ONNX file, quickly, and says how far the file is from the module.

The latency table exports every block of a search space, hundreds of small graphs, so the exporter has to be quick:
torch's TorchScript exporter (`dynamo=False`) takes about 0.1 s for an attention block where `dynamo=True` takes 2-3 s
on the same machine, with the same numbers and, after ONNX Runtime's own optimization, fewer operators. Shapes are
static: an architecture fixes its latent, and runtimes fuse and plan better when they know them.

A file appears under its name only when it is whole.
"""

import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy
import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from deploy.onnx_symbolics import registered_symbolics
from deploy.parity import Parity, compare, reference_outputs

OPSET_VERSION = 20
"""The newest opset the TorchScript exporter writes, and the first in which GELU is one operator."""

MAX_PROTOBUF_SIZE_BYTES = 2**31 - 2**20
"""Protocol buffers end at 2 GiB; the last MiB is left to the graph itself. Above it weights go to a file beside."""

ONNX_TOLERANCE = 1e-4
"""float32 sums in another order: single blocks differ by 1e-6, whole UNets by 1e-5."""


def export_onnx(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    path: Path,
    *,
    input_names: Sequence[str],
    output_names: Sequence[str],
    metadata: Mapping[str, str] | None = None,
    max_file_size_bytes: int = MAX_PROTOBUF_SIZE_BYTES,
) -> None:
    """Writes `module` as `path`, checked by the ONNX checker.

    Args:
        module: What is exported, as in evaluation mode; its outputs are one tensor or a tuple of tensors.
        inputs: Example inputs; their shapes become the graph's static shapes.
        path: Where the file goes. Weights above `max_file_size_bytes` go beside it as `<name>.data`.
        input_names: One name per input.
        output_names: One name per output.
        metadata: Kept in the file; ONNX Runtime shows it as `custom_metadata_map`.
        max_file_size_bytes: The largest file that may hold its own weights.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        temporary_path = Path(folder) / path.name
        with registered_symbolics(OPSET_VERSION), _known_warnings_silenced(), torch.no_grad():
            torch.onnx.export(
                _PositionalModule(module),
                inputs,
                str(temporary_path),  # a Path is refused once the weights exceed 2 GiB (torch 2.13)
                input_names=list(input_names),
                output_names=list(output_names),
                opset_version=OPSET_VERSION,
                dynamo=False,
            )
        model = onnx.load(temporary_path)
        onnx.helper.set_model_props(model, dict(metadata or {}))
        data_name = f"{path.name}.data"
        has_data_file = _weights_size_bytes(module) > max_file_size_bytes
        onnx.save(model, temporary_path, save_as_external_data=has_data_file, location=data_name)
        onnx.checker.check_model(temporary_path, full_check=True)  # by path: it also finds the weights beside
        if has_data_file:
            os.replace(Path(folder) / data_name, path.with_name(data_name))
        os.replace(temporary_path, path)


def onnx_parity(
    module: nn.Module, inputs: tuple[Tensor, ...], path: Path, *, tolerance: float = ONNX_TOLERANCE
) -> Parity:
    """Runs the file with ONNX Runtime on the CPU and compares it with the module."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads would steal the next cores
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [graph_input.name for graph_input in session.get_inputs()]
    feeds = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
    outputs = [numpy.asarray(output) for output in session.run(None, feeds)]
    reason = f"ONNX Runtime {onnxruntime.__version__} on the CPU"
    return compare(outputs, reference_outputs(module, inputs), tolerance=tolerance, reason=reason)


class _PositionalModule(nn.Module):
    """A module without keyword-only arguments: torch's exporter would hand their defaults over by position."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        outputs: Tensor | tuple[Tensor, ...] = self.module(*inputs)
        return outputs


def _weights_size_bytes(module: nn.Module) -> int:
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@contextmanager
def _known_warnings_silenced() -> Iterator[None]:
    """Hides what torch says about its own exporter; a trace warning from our code still shows."""
    with warnings.catch_warnings():
        for message in ("You are using the legacy TorchScript-based ONNX export", "The feature will be removed"):
            warnings.filterwarnings("ignore", message=message, category=DeprecationWarning)
        # Sizes are constants here: those that GroupNorm and interpolate look at, and that of an unpacked tensor.
        warnings.filterwarnings("ignore", message="Iterating over a tensor", category=TracerWarning)
        warnings.filterwarnings("ignore", category=TracerWarning, module=r"torch\.nn\.functional")
        yield
