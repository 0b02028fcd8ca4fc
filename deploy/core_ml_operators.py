"""The one operator that coremltools 9 cannot read from today's torch, registered only while a conversion runs.

Every traced `tensor.shape[0]` ends in torch's `int` of a one-element array. coremltools calls Python's `int` on it,
which numpy 2.4 refuses unless the array has no dimensions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy
from coremltools.converters.mil import Builder
from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY

# coremltools' translation context and graph nodes carry no public type.
Context = Any
Node = Any


@contextmanager
def registered_operators() -> Iterator[None]:
    """Teaches coremltools to read `int` while the block runs."""
    original = _TORCH_OPS_REGISTRY.get_func("int")
    _TORCH_OPS_REGISTRY.set_func_by_name(_read_int, "int")
    try:
        yield
    finally:
        _TORCH_OPS_REGISTRY.set_func_by_name(original, "int")


def _read_int(context: Context, node: Node) -> None:
    """The integer is known while converting, because every shape is."""
    value = int(numpy.asarray(context[node.inputs[0]].val).item())
    context.add(Builder.const(val=value, name=node.name))
