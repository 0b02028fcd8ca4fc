"""OpenVINO computes what torch computes, in the precision that was asked for or not at all."""

from pathlib import Path

import pytest

from profilers.backends.abstract import DeviceUnavailableError
from profilers.backends.registry import open_backend
from profilers.subject import Subject
from search_space.space import random_arch
from search_space.spaces import search_space
from search_space.walk import block_specs
from tests.profilers.backends.numbers import reference, relative_error

openvino = pytest.importorskip("openvino")

BLOCKS = {spec.kind: Subject.of_block(spec) for spec in block_specs(random_arch(search_space("tiny"), 0))}


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_block_s_file_computes_what_the_module_computes(kind: str, tmp_path: Path) -> None:
    subject, path = BLOCKS[kind], tmp_path / "block"
    open_backend("host-openvino").prepare(subject, path)
    inputs, expected = reference(subject)
    precision = {openvino.properties.hint.inference_precision: openvino.Type.f32}
    compiled = openvino.Core().compile_model(openvino.Core().read_model(path), "CPU", precision)
    assert relative_error(compiled(inputs)[0], expected) < 1e-4


def test_bf16_is_refused_where_float32_would_run_in_its_place() -> None:
    capabilities = openvino.Core().get_property("CPU", openvino.properties.device.capabilities)
    if "BF16" in capabilities:
        assert open_backend("host-openvino:precision=bf16").device.precision == "bf16"
    else:
        with pytest.raises(DeviceUnavailableError, match="no bfloat16"):
            open_backend("host-openvino:precision=bf16")
