"""The one operator of our blocks that torch's TorchScript exporter cannot write by itself, in standard ONNX.

It is registered only while an export runs, so that nobody else's export changes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.onnx import symbolic_helper, utils

# The graph context and the values of torch's exporter carry no public type.
Graph = Any
Value = Any


@contextmanager
def registered_symbolics(opset_version: int) -> Iterator[None]:
    """Teaches torch's exporter to write `rms_norm` while the block runs."""
    utils.register_custom_op_symbolic("aten::rms_norm", _write_rms_norm, opset_version)
    try:
        yield
    finally:
        utils.unregister_custom_op_symbolic("aten::rms_norm", opset_version)


def _write_rms_norm(graph: Graph, hidden: Value, normalized_shape: Value, weight: Value, epsilon: Value) -> Value:
    """hidden / sqrt(mean(hidden^2) + epsilon) * weight, as ONNX Runtime fuses it to SimplifiedLayerNormalization."""
    num_axes = len(symbolic_helper._maybe_get_const(normalized_shape, "is"))
    if symbolic_helper._is_none(epsilon):
        epsilon_value = torch.finfo(torch.float32).eps  # torch.nn.RMSNorm's default
    else:
        epsilon_value = symbolic_helper._maybe_get_const(epsilon, "f")
    squared = graph.op("Pow", hidden, _constant(graph, 2.0))
    mean_square = graph.op("ReduceMean", squared, _constant(graph, list(range(-num_axes, 0))))
    root = graph.op("Sqrt", graph.op("Add", mean_square, _constant(graph, epsilon_value)))
    normalized = graph.op("Div", hidden, root).setType(hidden.type())
    if symbolic_helper._is_none(weight):
        return normalized
    return graph.op("Mul", normalized, weight).setType(hidden.type())


def _constant(graph: Graph, content: float | list[int]) -> Value:
    return graph.op("Constant", value_t=torch.tensor(content))
