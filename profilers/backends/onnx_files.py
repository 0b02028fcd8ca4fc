"""A subject as an ONNX file, for every backend whose runtime reads ONNX: they all measure the same graph."""

from pathlib import Path

from deploy.to_onnx import export_onnx
from profilers.backends.torch_modules import build_module, one_thread
from profilers.subject import Subject


def export_subject(subject: Subject, path: Path) -> None:
    """Writes the block or network with random weights and its output called `output`."""
    with one_thread():  # an export is many tiny operators, each of which would wait for a second thread
        module, inputs = build_module(subject)
        input_names = [f"input_{index}" for index in range(len(inputs))]
        export_onnx(module, inputs, path, input_names=input_names, output_names=["output"])
