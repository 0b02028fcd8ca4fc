"""How far an exported file is from the torch module it came from.

An export is worth what was compared. `Parity` is that comparison as data: the largest difference, the tolerance it was
held against and, where this machine cannot run the file at all (Core ML predicts only on macOS), the reason why nothing
was compared. A parity that was not checked never reads as one that passed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

FloatArray = NDArray[numpy.float32]


@dataclass(frozen=True, kw_only=True)
class Parity:
    """The comparison of one exported file with torch."""

    is_checked: bool
    """Whether the exported file really ran and was compared."""

    reason: str
    """What was compared, or why nothing was."""

    tolerance: float
    """The largest error that counts as agreement, absolute or relative to the largest reference value."""

    max_abs_error: float | None = None
    """The largest absolute difference over all outputs; None where nothing was compared."""

    max_rel_error: float | None = None
    """The same, divided by the largest absolute value of the output it stands in; None where nothing was compared."""

    @property
    def agrees(self) -> bool:
        """Whether it was compared and one of the two errors is within the tolerance; NaN agrees with nothing."""
        if self.max_abs_error is None or self.max_rel_error is None:
            return False
        return self.max_abs_error <= self.tolerance or self.max_rel_error <= self.tolerance

    def __str__(self) -> str:
        if self.max_abs_error is None or self.max_rel_error is None:
            return f"not run here: {self.reason}"
        verdict = "agrees" if self.agrees else "DIFFERS"
        errors = f"largest error {self.max_abs_error:.2g} absolute, {self.max_rel_error:.2g} relative"
        return f"{verdict}: {errors}; tolerance {self.tolerance:.2g}; {self.reason}"


def not_run_here(reason: str, *, tolerance: float) -> Parity:
    """A parity that this machine cannot check, and why."""
    return Parity(is_checked=False, reason=reason, tolerance=tolerance)


def compare(
    outputs: Sequence[FloatArray], references: Sequence[FloatArray], *, tolerance: float, reason: str
) -> Parity:
    """Compares what the exported file gave with what torch gave.

    Args:
        outputs: The exported file's outputs, one array per output.
        references: Torch's, in the same order and of the same shapes.
        tolerance: The largest error that counts as agreement.
        reason: With what the file was run, for the model card.
    """
    assert [output.shape for output in outputs] == [reference.shape for reference in references]
    # numpy.max hands a NaN on; Python's max would lose it.
    abs_errors = [
        numpy.max(numpy.abs(output - reference)) for output, reference in zip(outputs, references, strict=True)
    ]
    smallest = float(numpy.finfo(numpy.float32).tiny)  # an output that is all zeros divides by this
    rel_errors = [
        error / max(float(numpy.max(numpy.abs(reference))), smallest)
        for error, reference in zip(abs_errors, references, strict=True)
    ]
    return Parity(
        is_checked=True,
        reason=reason,
        tolerance=tolerance,
        max_abs_error=float(numpy.max(abs_errors)),
        max_rel_error=float(numpy.max(rel_errors)),
    )


def reference_outputs(module: nn.Module, inputs: tuple[Tensor, ...]) -> list[FloatArray]:
    """What torch gives in evaluation mode, one array per output; the module's own mode is put back."""
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            outputs = module(*inputs)
    finally:
        module.train(was_training)
    tensors = (outputs,) if isinstance(outputs, Tensor) else outputs
    return [tensor.numpy() for tensor in tensors]
