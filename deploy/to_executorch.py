"""Writes a torch module as an ExecuTorch `.pte`, lowered to XNNPACK: the file that Android and iOS apps load.

XNNPACK takes the operators it has kernels for; ExecuTorch's own portable kernels run the others (group norm, layer
norm, nearest upsampling). `Delegation` says how many of each, because the portable ones are slow: attention is
therefore written out as two matrix products and a softmax. ExecuTorch's own decomposition guards against rows that are
wholly masked, which no UNet has, with six more operators that XNNPACK leaves to the portable kernels.

ExecuTorch is an optional package: `pip install snapnas[devices]`. Importing its exporter takes about ten seconds.
"""

import logging
import operator
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from deploy.parity import Parity, compare, reference_outputs
from search_space.errors import UsageError

EXECUTORCH_TOLERANCE = 1e-4

_KNOWN_LOG_LINES = (
    "Failed to load",  # kernels for graphics cards, built for another Python
    "<enum 'KernelPreference'>",  # torchao registers it in a way that torch calls old
)


@dataclass(frozen=True, kw_only=True)
class Delegation:
    """Who runs the operators of a lowered module."""

    num_delegated: int
    """Operators inside the parts that XNNPACK took."""
    num_portable: int
    """Operators left to ExecuTorch's own kernels."""

    @property
    def share(self) -> float:
        """Of the operators, 0 to 1, that XNNPACK runs."""
        return self.num_delegated / (self.num_delegated + self.num_portable)


def export_executorch(module: nn.Module, inputs: tuple[Tensor, ...], path: Path) -> Delegation:
    """Writes `module` as `path`, and says how much of it XNNPACK took.

    Args:
        module: What is exported, as in evaluation mode.
        inputs: Example inputs; their shapes become the program's static shapes.
        path: Where the file goes; it appears there only when it is whole.
    """
    with _known_noise_silenced():
        try:
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower
        except ModuleNotFoundError as error:
            raise UsageError(f"ExecuTorch is missing ({error})", fix="pip install snapnas[devices]") from error

        lowered = to_edge_transform_and_lower(_exported(module, inputs), partitioner=[XnnpackPartitioner()])
        delegation = _delegation(lowered.exported_program().graph_module)
        program = lowered.to_executorch()
    _write_whole(path, program.buffer)
    return delegation


def executorch_parity(module: nn.Module, inputs: tuple[Tensor, ...], path: Path, delegation: Delegation) -> Parity:
    """Runs a `.pte` on this machine and compares it with the module.

    Args:
        module: What was exported.
        inputs: What it is run on, of the shapes it was exported for.
        path: The file.
        delegation: What `export_executorch` returned, for the model card.
    """
    from executorch.extension.pybindings import _C as runtime

    method = runtime._load_program(str(path)).load_method("forward")
    method.set_inputs(inputs)
    method.execute()
    outputs = [output.numpy() for output in method.get_outputs()]
    reason = f"ExecuTorch {version('executorch')} on the CPU, {delegation.share:.0%} of the operators in XNNPACK"
    return compare(outputs, reference_outputs(module, inputs), tolerance=EXECUTORCH_TOLERANCE, reason=reason)


def _exported(module: nn.Module, inputs: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad(), _PlainAttention():
            return torch.export.export(module, inputs)
    finally:
        module.train(was_training)


class _PlainAttention(TorchFunctionMode):
    """Replaces torch's fused attention by the operators it is made of, while a module is traced."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is nn.functional.scaled_dot_product_attention:
            return _attention(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of every query over all keys, `[B, G, N, D]` each."""
    batch, groups, num_queries, head_dim = query.shape
    scaled = (query * head_dim**-0.5).reshape(batch * groups, num_queries, head_dim)
    scores = torch.bmm(scaled, key.reshape(batch * groups, -1, head_dim).transpose(1, 2))  # [BG, N, L]
    attended = torch.bmm(scores.softmax(dim=-1), value.reshape(batch * groups, -1, head_dim))
    return attended.reshape(batch, groups, num_queries, head_dim)


def _delegation(graph_module: torch.fx.GraphModule) -> Delegation:
    num_delegated = num_portable = 0
    for node in graph_module.graph.nodes:
        if node.op == "get_attr":  # of a part that was handed over; weights are inputs of this graph
            handed_over = getattr(graph_module, node.target).original_module
            num_delegated += sum(inner.op == "call_function" for inner in handed_over.graph.nodes)
        elif node.op == "call_function" and "call_delegate" not in node.name and node.target is not operator.getitem:
            num_portable += 1
    return Delegation(num_delegated=num_delegated, num_portable=num_portable)


def _write_whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        temporary_path = Path(folder) / path.name
        temporary_path.write_bytes(content)
        os.replace(temporary_path, path)


@contextmanager
def _known_noise_silenced() -> Iterator[None]:
    """Hides what torchao, which ExecuTorch imports, always says, and a deprecation of ExecuTorch's own."""

    def is_news(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(_KNOWN_LOG_LINES)

    loggers = [logging.getLogger("torchao"), logging.getLogger("torch.utils._pytree")]
    for logger in loggers:
        logger.addFilter(is_news)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.filterwarnings("ignore", message="`isinstance.treespec, LeafSpec", category=FutureWarning)
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_news)
