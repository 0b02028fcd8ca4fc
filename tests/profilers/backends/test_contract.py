"""What every backend has to keep, whatever it measures on."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from profilers.backends.exact import exact_latency_ms
from profilers.backends.registry import DEVICE_NAMES, open_backend
from profilers.backends.torch_modules import build_module
from profilers.device import Device
from profilers.roofline.phones import PHONES
from profilers.subject import Subject
from search_space.space import random_arch
from search_space.spaces import search_space
from search_space.specs import BlockSpec, ConvSpec
from search_space.walk import block_specs

ARCH = random_arch(search_space("tiny"), 0)
LARGE = ConvSpec(in_channels=64, out_channels=64, size=32)
SMALL = ConvSpec(in_channels=8, out_channels=8, size=4)

every_device = pytest.mark.parametrize("device_name", DEVICE_NAMES)


@every_device
def test_device_says_what_keys_a_row(device_name: str) -> None:
    device = open_backend(device_name).device
    assert device.name == device_name
    assert device == open_backend(device_name).device
    assert Device.from_json(device.to_json()) == device
    assert device.threads >= 1


def test_devices_have_different_ids() -> None:
    assert len({open_backend(name).device.device_id for name in DEVICE_NAMES}) == len(DEVICE_NAMES)


@every_device
def test_every_kind_of_block_of_a_network_runs(device_name: str, tmp_path: Path) -> None:
    backend = open_backend(device_name)
    first_of_kind: dict[str, BlockSpec] = {}
    for spec in block_specs(ARCH):
        first_of_kind.setdefault(spec.kind, spec)
    for kind, spec in first_of_kind.items():
        subject, path = Subject.of_block(spec), tmp_path / kind
        backend.prepare(subject, path)
        assert 0 < backend.load(subject, path).run(2) < 60


@every_device
def test_a_whole_network_runs(device_name: str, tmp_path: Path) -> None:
    backend, subject = open_backend(device_name), Subject.of_network(ARCH)
    backend.prepare(subject, tmp_path / "network")
    assert 0 < backend.load(subject, tmp_path / "network").run(1) < 60


@every_device
def test_more_work_takes_longer(device_name: str, tmp_path: Path) -> None:
    backend = open_backend(device_name)
    durations_s = []
    for spec in (SMALL, LARGE):
        subject, path = Subject.of_block(spec), tmp_path / f"{spec.size}"
        backend.prepare(subject, path)
        runner = backend.load(subject, path)
        runner.run(3)
        durations_s.append(min(runner.run(5) for _ in range(5)))
    assert durations_s[0] < durations_s[1]


@every_device
def test_time_grows_with_the_number_of_runs(device_name: str, tmp_path: Path) -> None:
    backend, subject = open_backend(device_name), Subject.of_block(LARGE)
    backend.prepare(subject, tmp_path / "block")
    runner = backend.load(subject, tmp_path / "block")
    runner.run(3)
    assert min(runner.run(1) for _ in range(5)) < min(runner.run(20) for _ in range(5))


def test_exact_network_is_the_sum_of_its_blocks(tmp_path: Path) -> None:
    backend = open_backend("exact")
    network_s = backend.load(Subject.of_network(ARCH), tmp_path).run(1)
    assert network_s == pytest.approx(math.fsum(map(exact_latency_ms, block_specs(ARCH))) / 1000, rel=1e-12)


def test_formulas_say_that_they_are_no_clock() -> None:
    assert {name for name in DEVICE_NAMES if open_backend(name).device.is_estimate} == {"exact", *PHONES}


def test_onnx_file_computes_what_the_module_computes(tmp_path: Path) -> None:
    import numpy
    import onnxruntime
    import torch

    subject = Subject.of_network(ARCH)
    module, inputs = build_module(subject)
    open_backend("host-onnxruntime").prepare(subject, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    shapes = [tuple(graph_input.shape) for graph_input in session.get_inputs()]
    assert shapes == [tuple(tensor.shape) for tensor in inputs]
    feeds = {graph_input.name: tensor.numpy() for graph_input, tensor in zip(session.get_inputs(), inputs, strict=True)}
    (output,) = session.run(None, feeds)
    with torch.no_grad():
        numpy.testing.assert_allclose(numpy.asarray(output), module(*inputs).numpy(), atol=1e-4)


def test_onnx_worker_never_imports_torch(tmp_path: Path) -> None:
    backend, subject = open_backend("host-onnxruntime"), Subject.of_block(SMALL)
    backend.prepare(subject, tmp_path / "block")
    program = (
        "import sys; from pathlib import Path\n"
        "import profilers.worker as worker; from profilers.subject import Subject\n"
        "text, path = sys.argv[1:]\n"
        "runner = worker.open_backend('host-onnxruntime').load(Subject(kind='block', text=text), Path(path))\n"
        "runner.run(1); print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program, subject.text, str(tmp_path / "block")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_spec_key_is_what_travels() -> None:
    assert json.loads(Subject.of_block(SMALL).text)["kind"] == "conv"
