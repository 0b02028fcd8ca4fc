"""Writes a torch module as a Core ML `.mlpackage`, on Linux too, and says whether its numbers were compared.

Conversion (torch.jit.trace, then coremltools to an ML program) runs anywhere; prediction only on macOS. So on Linux the
parity is "not run here", and what can be checked is the package itself: `read_core_ml` gives its inputs, outputs,
operators and metadata as they stand in the file.

Inputs and outputs have the compute precision (integers: int32), so that no cast is added around a block.
"""

import logging
import math
import platform
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy
import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from deploy.parity import Parity, compare, not_run_here, reference_outputs
from deploy.whole_folder import whole_folder

Precision = Literal["float16", "float32"]

TOLERANCE_OF_PRECISION: dict[Precision, float] = {"float16": 2e-2, "float32": 1e-3}
"""Relative to the largest output: float16 keeps 11 bits, and a UNet adds some hundred layers' roundings."""

METADATA_FIELDS = ("author", "license", "short_description", "version")
"""What Core ML shows in fields of its own; all other metadata is user-defined."""

_KNOWN_LOG_LINES = (
    "scikit-learn version",  # its scikit-learn converter is switched off; we convert torch
    "Torch version",  # newer than coremltools tested; our tests convert every kind of block
    "Failed to load _ML",  # Core ML itself is missing, as on every Linux
    "Tuple detected at graph output",  # several outputs, which we name
    "Saving value type of int64 into a builtin type of int32",  # sizes and indices
)


@dataclass(frozen=True, kw_only=True)
class CoreMLDescription:
    """What stands in an `.mlpackage`, read without running it."""

    input_shapes: dict[str, tuple[int, ...]]
    """Shape of every input by name."""
    output_shapes: dict[str, tuple[int, ...]]
    """Shape of every output by name; () where Core ML leaves it open."""
    operators: Counter[str]
    """How often every kind of operator occurs, constants left out."""
    weight_types: frozenset[str]
    """Number formats in the weight file: FLOAT16."""
    weight_bytes: int
    """Size of everything in the weight file, padding left out."""
    metadata: dict[str, str]
    """The fields of `METADATA_FIELDS` that are set, and all user-defined metadata."""


def export_core_ml(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    path: Path,
    *,
    input_names: Sequence[str],
    output_names: Sequence[str],
    metadata: Mapping[str, str] | None = None,
    precision: Precision = "float16",
) -> Parity:
    """Writes `module` as `path` and, on macOS, compares its predictions with torch's.

    Args:
        module: What is exported, as in evaluation mode; its outputs are one tensor or a tuple of tensors.
        inputs: Example inputs; their shapes become the model's fixed shapes.
        path: The package, a folder whose name ends in `.mlpackage`.
        input_names: One name per input.
        output_names: One name per output.
        metadata: `METADATA_FIELDS` have fields of their own, all other keys are user-defined.
        precision: What weights, activations, inputs and outputs are.
    """
    write_core_ml(
        module,
        inputs,
        path,
        input_names=input_names,
        output_names=output_names,
        metadata=metadata,
        precision=precision,
    )
    return core_ml_parity(module, inputs, path, input_names=input_names, output_names=output_names, precision=precision)


def write_core_ml(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    path: Path,
    *,
    input_names: Sequence[str],
    output_names: Sequence[str],
    metadata: Mapping[str, str] | None = None,
    precision: Precision = "float16",
) -> None:
    """Writes `module` as `path` and compares nothing; the arguments are those of `export_core_ml`."""
    with _known_noise_silenced():
        model = _convert(module, inputs, input_names=input_names, output_names=output_names, precision=precision)
        for key, value in dict(metadata or {}).items():
            if key in METADATA_FIELDS:
                setattr(model, key, value)
            else:
                model.user_defined_metadata[key] = value
        with whole_folder(path) as new_path:
            model.save(str(new_path))


def core_ml_parity(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    path: Path,
    *,
    input_names: Sequence[str],
    output_names: Sequence[str],
    precision: Precision,
) -> Parity:
    """Predicts with Core ML where that is possible, and compares with the module."""
    tolerance = TOLERANCE_OF_PRECISION[precision]
    if platform.system() != "Darwin":
        return not_run_here("Core ML predicts only on macOS", tolerance=tolerance)
    with _known_noise_silenced():
        import coremltools

        arrays = [tensor.numpy().astype(_array_type(tensor, precision)) for tensor in inputs]
        predicted = coremltools.models.MLModel(str(path)).predict(dict(zip(input_names, arrays, strict=True)))
    outputs = [numpy.asarray(predicted[name], dtype=numpy.float32) for name in output_names]
    reason = f"Core ML on macOS {platform.mac_ver()[0]}, {precision}"
    return compare(outputs, reference_outputs(module, inputs), tolerance=tolerance, reason=reason)


def read_core_ml(path: Path) -> CoreMLDescription:
    """Reads a package's specification back."""
    with _known_noise_silenced():
        import coremltools

        spec = coremltools.models.utils.load_spec(str(path))
    main = spec.mlProgram.functions["main"]
    operations = main.block_specializations[main.opset].operations
    constants = [operation for operation in operations if operation.type == "const"]
    weights = [_weight(constant) for constant in constants if constant.attributes["val"].HasField("blobFileValue")]
    metadata = {
        "author": spec.description.metadata.author,
        "license": spec.description.metadata.license,
        "short_description": spec.description.metadata.shortDescription,
        "version": spec.description.metadata.versionString,
    }
    return CoreMLDescription(
        input_shapes={entry.name: tuple(entry.type.multiArrayType.shape) for entry in spec.description.input},
        output_shapes={entry.name: tuple(entry.type.multiArrayType.shape) for entry in spec.description.output},
        operators=Counter(operation.type for operation in operations if operation.type != "const"),
        weight_types=frozenset(name for name, _ in weights),
        weight_bytes=sum(size_bytes for _, size_bytes in weights),
        metadata={key: value for key, value in metadata.items() if value} | dict(spec.description.metadata.userDefined),
    )


def _weight(constant: Any) -> tuple[str, int]:
    """The number format and the size of a constant that stands in the weight file."""
    from coremltools.proto import MIL_pb2

    tensor = constant.attributes["val"].type.tensorType
    type_name = str(MIL_pb2.DataType.Name(tensor.dataType))
    num_bits = int(re.sub("[^0-9]", "", type_name))
    return type_name, math.prod(dimension.constant.size for dimension in tensor.dimensions) * num_bits // 8


def _convert(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    *,
    input_names: Sequence[str],
    output_names: Sequence[str],
    precision: Precision,
) -> Any:
    """The ML program of a module, as coremltools' MLModel, not loaded."""
    import coremltools

    from deploy.core_ml_operators import registered_operators

    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            traced = torch.jit.trace(module, inputs, check_trace=False)  # type: ignore[no-untyped-call]
    finally:
        module.train(was_training)
    input_types = [
        coremltools.TensorType(name=name, shape=tuple(tensor.shape), dtype=_array_type(tensor, precision))
        for name, tensor in zip(input_names, inputs, strict=True)
    ]
    floating = numpy.float16 if precision == "float16" else numpy.float32
    with registered_operators():
        return coremltools.convert(
            traced,
            inputs=input_types,
            outputs=[coremltools.TensorType(name=name, dtype=floating) for name in output_names],
            convert_to="mlprogram",
            compute_precision=coremltools.precision(precision),
            # The oldest with float16 inputs, outputs and every operator used here; later ones would leave phones out.
            minimum_deployment_target=coremltools.target.iOS17,
            skip_model_load=True,
        )


def _array_type(tensor: Tensor, precision: Precision) -> type[numpy.generic]:
    if not tensor.is_floating_point():
        return numpy.int32  # Core ML has no int64
    return numpy.float16 if precision == "float16" else numpy.float32


@contextmanager
def _known_noise_silenced() -> Iterator[None]:
    """Hides coremltools' progress bars and the lines it always says; a new warning still shows."""

    def is_news(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(_KNOWN_LOG_LINES)

    logger = logging.getLogger("coremltools")
    logger.addFilter(is_news)  # ahead of the import, which says the most
    with _hidden("executorch", "torchao"):  # coremltools would import them, which takes seconds and has much to say
        from coremltools.converters.mil.frontend.torch import ops
        from coremltools.converters.mil.mil.passes import pass_pipeline

    operator_bar, pass_bar = ops._tqdm, pass_pipeline.tqdm
    ops._tqdm, pass_pipeline.tqdm = partial(operator_bar, disable=True), partial(pass_bar, disable=True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`torch.jit.trace", category=DeprecationWarning)
            warnings.filterwarnings("ignore", message="Implicitly cleaning up", category=ResourceWarning)
            # Sizes are constants here: those that GroupNorm and interpolate look at, and that of an unpacked tensor.
            warnings.filterwarnings("ignore", message="Iterating over a tensor", category=TracerWarning)
            warnings.filterwarnings("ignore", category=TracerWarning, module=r"torch\.nn\.functional")
            yield
    finally:
        ops._tqdm, pass_pipeline.tqdm = operator_bar, pass_bar
        logger.removeFilter(is_news)


@contextmanager
def _hidden(*libraries: str) -> Iterator[None]:
    """Lets libraries that nobody has imported yet seem to be missing."""
    hidden = [library for library in libraries if library not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for library in hidden:
            del sys.modules[library]
