"""What a subject computes in torch, to compare the files of other runtimes with."""

import numpy
import torch
from numpy.typing import NDArray

from profilers.backends.torch_modules import build_module
from profilers.subject import Subject

Array = NDArray[numpy.float32]


def reference(subject: Subject) -> tuple[list[Array], Array]:
    """The inputs of a subject, and its output in float32."""
    module, inputs = build_module(subject)
    with torch.no_grad():
        return [tensor.numpy() for tensor in inputs], module(*inputs).numpy()


def relative_error(output: object, expected: Array) -> float:
    """The largest difference, relative to the largest expected value."""
    difference = numpy.abs(numpy.asarray(output, dtype=numpy.float32) - expected)
    return float(difference.max() / numpy.abs(expected).max())
