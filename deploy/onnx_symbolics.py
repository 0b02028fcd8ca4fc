"""Two operators that torch's TorchScript exporter cannot write by itself, in standard ONNX.

`rms_norm` has no symbolic at all, and `scaled_dot_product_attention` has none for grouped heads (`enable_gqa=True`).
Both are registered only while an export runs, so that nobody else's export changes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.onnx import symbolic_helper, utils
from torch.onnx.symbolic_opset14 import scaled_dot_product_attention as _write_attention_with_equal_heads

# The graph context and the values of torch's exporter carry no public type.
Graph = Any
Value = Any


@contextmanager
def registered_symbolics(opset_version: int) -> Iterator[None]:
    """Teaches torch's exporter the operators of this file while the block runs."""
    symbolics: dict[str, Callable[..., Value]] = {
        "aten::rms_norm": _write_rms_norm,
        "aten::scaled_dot_product_attention": _write_attention,
    }
    for name, symbolic in symbolics.items():
        utils.register_custom_op_symbolic(name, symbolic, opset_version)
    try:
        yield
    finally:
        for name in symbolics:
            utils.unregister_custom_op_symbolic(name, opset_version)


def _write_rms_norm(graph: Graph, hidden: Value, normalized_shape: Value, weight: Value, epsilon: Value) -> Value:
    """hidden / sqrt(mean(hidden^2) + epsilon) * weight, in the shape ONNX Runtime fuses to SimplifiedLayerNormalization."""
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


def _write_attention(
    graph: Graph,
    query: Value,  # [B, H, Q, D]
    key: Value,  # [B, G, K, D]
    value: Value,  # [B, G, K, D]
    mask: Value,
    dropout: Value,
    is_causal: Value,
    scale: Value,
    enable_gqa: Value,
) -> Value:
    """Attention of H query heads over G key heads, without repeating the keys.

    The H / G heads that share a key head stand one below the other as more query rows: one larger matrix product.
    """
    batch, num_heads, query_length, head_dim = query.type().sizes()
    num_kv_heads = key.type().sizes()[1]
    if num_heads == num_kv_heads:
        return _write_attention_with_equal_heads(graph, query, key, value, mask, dropout, is_causal, scale)
    assert symbolic_helper._is_none(mask), "grouped heads are written without a mask"
    assert not symbolic_helper._maybe_get_const(is_causal, "b"), "grouped heads are written without a causal mask"
    rows = [batch, num_kv_heads, num_heads // num_kv_heads * query_length, head_dim]
    stacked = graph.op("Reshape", query, _constant(graph, rows)).setType(query.type().with_sizes(rows))
    attended = _write_attention_with_equal_heads(graph, stacked, key, value, mask, dropout, is_causal, scale)
    sizes = [batch, num_heads, query_length, head_dim]
    return graph.op("Reshape", attended, _constant(graph, sizes)).setType(query.type())


def _constant(graph: Graph, content: float | list[int]) -> Value:
    return graph.op("Constant", value_t=torch.tensor(content))
