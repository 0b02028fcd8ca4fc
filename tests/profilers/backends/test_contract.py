"""What every backend has to keep, whatever it measures on. A device that is not here is skipped, and says why."""

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from profilers.backends.abstract import AbstractBackend, DeviceUnavailableError
from profilers.backends.exact import exact_latency_ms
from profilers.backends.registry import DEVICE_NAMES, open_backend
from profilers.device import Device, num_usable_cores
from profilers.roofline.phones import PHONES
from profilers.subject import Subject
from search_space.arch import PathConfig
from search_space.space import random_arch
from search_space.spaces import search_space
from search_space.specs import BlockSpec, ConvSpec
from search_space.walk import block_specs

ARCH = random_arch(search_space("tiny"), 0)
SMALL_ARCH = dataclasses.replace(
    ARCH,
    stages=tuple(
        dataclasses.replace(stage, down=PathConfig(transformer_depths=(0,)), up=PathConfig(transformer_depths=(0,)))
        for stage in ARCH.stages[:2]
    ),
    mid=PathConfig(transformer_depths=(0,)),
)
"""Without transformers, which some runtimes compile for ten seconds each."""
SMALL = ConvSpec(in_channels=8, out_channels=8, size=4)

QUICK = ("host-onnxruntime", "host-onnxruntime:precision=int8", "host-openvino", "host-torch", "exact", *PHONES)
SLOW = (  # each exports or compiles for seconds a block, or needs hardware that has to be warmed up first
    "host-openvino:precision=bf16",
    "host-executorch",
    "host-torch:mode=compiled",
    "cuda-torch",
    "cuda-torch:precision=fp16",
    "cuda-torch:precision=bf16",
    "cuda-torch:mode=compiled",
    "cuda-torch:mode=graphs",
    "mps-torch",
    "mps-torch:precision=fp16",
    "chromium",
    "core-ml",
)
WITH_THREADS = ("host-onnxruntime", "host-openvino", "host-executorch", "host-torch")
FROM_A_FILE = ("host-onnxruntime", "host-openvino", "host-executorch")
WITHOUT_TORCH = ("host-onnxruntime", "host-onnxruntime:precision=int8", "host-openvino")


def _parametrized(slow: Iterable[str]) -> pytest.MarkDecorator:
    marks = [pytest.mark.slow, pytest.mark.timeout(600)]
    return pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=marks) for name in slow)])


every_device = pytest.mark.parametrize("name", [*QUICK, *SLOW])
every_device_to_run = _parametrized(SLOW)
# torch.compile takes seconds a block, and all the kinds of block are compiled already where they run singly.
every_device_to_run_whole = _parametrized(name for name in SLOW if "compiled" not in name)

Opener = Callable[[str], AbstractBackend]


@pytest.fixture
def open_here() -> Opener:
    """Opens a device, and skips the test where the device is not here."""

    def opener(name: str) -> AbstractBackend:
        try:
            backend = open_backend(name)
            assert backend.device.name == name
        except DeviceUnavailableError as error:
            pytest.skip(str(error))
        return backend

    return opener


def test_every_kind_of_device_is_tested() -> None:
    assert {name.partition(":")[0] for name in (*QUICK, *SLOW)} == set(DEVICE_NAMES)


@every_device
def test_device_says_what_keys_a_row(name: str, open_here: Opener) -> None:
    device = open_here(name).device
    assert device == open_backend(name).device
    assert Device.from_json(device.to_json()) == device
    assert device.threads >= 1
    assert (Path("profilers/backends") / f"{device.backend}.py").exists() or device.is_estimate


def test_devices_have_different_ids() -> None:
    device_ids, num_devices = set(), 0
    for name in (*QUICK, *SLOW):
        try:
            device_ids.add(open_backend(name).device.device_id)
            num_devices += 1
        except DeviceUnavailableError:
            continue
    assert len(device_ids) == num_devices >= len(QUICK)


@pytest.mark.skipif(num_usable_cores() < 2, reason="needs two cores")
@pytest.mark.parametrize("name", WITH_THREADS)
def test_threads_make_another_device(name: str, open_here: Opener) -> None:
    one, two = open_here(name).device, open_here(f"{name}:threads=2").device
    assert (one.threads, two.threads) == (1, 2)
    assert one.device_id != two.device_id


@every_device_to_run
def test_every_kind_of_block_of_a_network_runs(name: str, open_here: Opener, tmp_path: Path) -> None:
    backend = open_here(name)
    first_of_kind: dict[str, BlockSpec] = {}
    for spec in block_specs(ARCH):
        first_of_kind.setdefault(spec.kind, spec)
    for kind, spec in first_of_kind.items():
        subject, path = Subject.of_block(spec), tmp_path / kind
        backend.prepare(subject, path)
        runner = backend.load(subject, path)
        assert 0 < runner.run(2) < 60
        if runner.placement is not None:
            assert sum(runner.placement.values()) > 0
            assert min(runner.placement.values()) >= 0


@every_device_to_run_whole
def test_a_whole_network_runs(name: str, open_here: Opener, tmp_path: Path) -> None:
    backend, subject = open_here(name), Subject.of_network(SMALL_ARCH)
    backend.prepare(subject, tmp_path / "network")
    assert 0 < backend.load(subject, tmp_path / "network").run(1) < 60


@pytest.mark.parametrize("name", FROM_A_FILE)
def test_a_broken_file_is_an_error(name: str, open_here: Opener, tmp_path: Path) -> None:
    backend, subject, path = open_here(name), Subject.of_block(SMALL), tmp_path / "block"
    path.write_bytes(b"no model at all " * 64)
    (tmp_path / "block.placement.json").write_text('{"XNNPACK": 1, "portable": 0}')  # ExecuTorch's, which is whole
    with pytest.raises(Exception) as caught:  # noqa: PT011 - every runtime has its own
        backend.load(subject, path)
    assert not isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_the_worker_never_imports_torch(name: str, open_here: Opener, tmp_path: Path) -> None:
    subject = Subject.of_block(SMALL)
    open_here(name).prepare(subject, tmp_path / "block")
    program = (
        "import sys; from pathlib import Path\n"
        "import profilers.worker; from profilers.backends.registry import open_backend\n"
        "from profilers.subject import Subject\n"
        "name, text, path = sys.argv[1:]\n"
        "runner = open_backend(name).load(Subject(kind='block', text=text), Path(path))\n"
        "runner.run(1); runner.placement; print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program, name, subject.text, str(tmp_path / "block")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_exact_network_is_the_sum_of_its_blocks(tmp_path: Path) -> None:
    backend = open_backend("exact")
    network_s = backend.load(Subject.of_network(ARCH), tmp_path).run(1)
    assert network_s == pytest.approx(math.fsum(map(exact_latency_ms, block_specs(ARCH))) / 1000, rel=1e-12)


@every_device
def test_formulas_say_that_they_are_no_clock(name: str, open_here: Opener) -> None:
    assert open_here(name).device.is_estimate == (name in ("exact", *PHONES))


def test_spec_key_is_what_travels() -> None:
    assert json.loads(Subject.of_block(SMALL).text)["kind"] == "conv"
