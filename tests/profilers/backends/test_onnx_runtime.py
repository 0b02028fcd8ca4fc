"""ONNX Runtime's files compute what torch computes, and it says which provider took which node."""

import os
import platform
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest

from profilers.backends.abstract import DeviceUnavailableError
from profilers.backends.registry import open_backend
from profilers.device import host_hardware
from profilers.needed_memory import reason_not_to_fit
from profilers.subject import Subject
from search_space.errors import UsageError
from search_space.references import sdxl
from search_space.space import random_arch
from search_space.spaces import search_space
from search_space.walk import block_specs
from tests.profilers.backends.numbers import Array, reference, relative_error
from tests.profilers.bundling.conftest import pretend_to_be_mac

ARCH = random_arch(search_space("tiny"), 0)
BLOCKS = {spec.kind: Subject.of_block(spec) for spec in block_specs(ARCH)}


def _run_file(path: Path, subject: Subject) -> tuple[object, Array]:
    inputs, expected = reference(subject)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feeds = {graph_input.name: array for graph_input, array in zip(session.get_inputs(), inputs, strict=True)}
    (output,) = session.run(None, feeds)
    return output, expected


def test_a_network_s_file_computes_what_the_module_computes(tmp_path: Path) -> None:
    subject = Subject.of_network(ARCH)
    open_backend("host-onnxruntime").prepare(subject, tmp_path / "network")
    assert relative_error(*_run_file(tmp_path / "network", subject)) < 1e-4


@pytest.mark.parametrize("kind", sorted(BLOCKS.keys() - {"norm_out"}))  # which has no weights to quantize
def test_int8_is_near_and_not_equal(kind: str, tmp_path: Path) -> None:
    subject, path = BLOCKS[kind], tmp_path / "block"
    open_backend("host-onnxruntime:precision=int8").prepare(subject, path)
    assert any("Integer" in node.op_type for node in onnx.load(path).graph.node)
    assert 0 < relative_error(*_run_file(path, subject)) < 0.05
    assert [path] == list(tmp_path.iterdir())  # the float32 file is gone


def test_no_thread_spins_and_none_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = []

    class Remembered(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)
            sessions.append(self)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Remembered)
    subject, path = BLOCKS["conv"], tmp_path / "block"
    backend = open_backend("host-onnxruntime")
    backend.prepare(subject, path)
    backend.load(subject, path)
    options = sessions[-1].get_session_options()
    for threads in ("intra_op", "inter_op"):  # spinning threads made sums 322 % wrong
        assert options.get_session_config_entry(f"session.{threads}.allow_spinning") == "0"
    assert options.get_session_config_entry("session.use_env_allocators") == "1"
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


@pytest.fixture
def graphics_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third of several cards, with 24 GB, and a build of ONNX Runtime that runs on it."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho NVIDIA card $1, 24564\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)


@pytest.mark.usefixtures("graphics_card")
def test_a_graphics_card_keys_the_rows_of_its_provider() -> None:
    device = open_backend("host-onnxruntime:provider=cuda").device
    assert device.hardware == f"NVIDIA card --id=2, {host_hardware()}"
    assert open_backend("host-onnxruntime").device.hardware != device.hardware
    assert onnxruntime.__version__ in device.runtime


@pytest.mark.usefixtures("graphics_card")
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_what_fits_on_a_card_is_decided_by_the_card_s_memory(provider: str) -> None:
    backend, network = open_backend(f"host-onnxruntime:provider={provider}"), Subject.of_network(sdxl())
    assert backend.free_bytes() == 24564 * 2**20
    assert reason_not_to_fit(network, backend.free_bytes(), backend.footprint) is None


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What sessions are started with, in place of starting them; the environment is as before afterwards."""
    started: list[dict[str, Any]] = []

    def start(path: Path, options: object, providers: list[str], provider_options: list[dict[str, str]]) -> None:
        started.append({**os.environ, **dict(zip(providers, provider_options, strict=True))})
        raise RuntimeError("no such hardware here")

    for name in ("CUDA_DEVICE_ORDER", "NVIDIA_TF32_OVERRIDE"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(onnxruntime, "InferenceSession", start)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    return started


@pytest.mark.usefixtures("graphics_card")
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_cards_are_counted_as_nvidia_smi_counts_them(
    provider: str, sessions: list[dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match="no such hardware"):
        open_backend(f"host-onnxruntime:provider={provider}").load(BLOCKS["conv"], tmp_path)
    assert sessions[0]["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_macos_and_the_cores_of_the_graphics_processor_key_the_rows_of_core_ml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CoreMLExecutionProvider"])
    devices = []
    for macos, num_gpu_cores in (("15.1", 8), ("26.0", 8), ("15.1", 10)):
        monkeypatch.setattr(platform, "mac_ver", lambda macos=macos: (macos, ("", "", ""), "arm64"))
        pretend_to_be_mac(monkeypatch, gpu=f'"gpu-core-count" = {num_gpu_cores}')
        devices.append(open_backend("host-onnxruntime:provider=coreml").device)
    assert devices[0].operating_system == f"macOS 15.1 {platform.machine()}"
    assert devices[0].hardware == f"{host_hardware()}, 8 GPU cores"
    assert len({device.device_id for device in devices}) == 3


@pytest.mark.usefixtures("graphics_card")
def test_float32_is_not_tf32_with_tensorrt(sessions: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no such hardware"):
        open_backend("host-onnxruntime:provider=tensorrt").load(BLOCKS["conv"], tmp_path)
    assert sessions[0]["NVIDIA_TF32_OVERRIDE"] == "0"


def test_float32_is_not_float16_with_core_ml(
    sessions: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CoreMLExecutionProvider"])
    with pytest.raises(RuntimeError, match="no such hardware"):
        open_backend("host-onnxruntime:provider=coreml").load(BLOCKS["conv"], tmp_path)
    assert sessions[0]["CoreMLExecutionProvider"] == {"ModelFormat": "MLProgram"}


@pytest.mark.parametrize(("provider", "is_known"), [("coreml", True), ("xnnpack", True), ("qnn", False)])
def test_a_provider_whose_arithmetic_nobody_knows_is_told_apart(
    provider: str, is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", onnxruntime.get_all_providers)
    pretend_to_be_mac(monkeypatch)
    runtime = open_backend(f"host-onnxruntime:provider={provider}").device.runtime
    assert runtime.endswith("ExecutionProvider" if is_known else "which may compute in another number format")


def test_placement_counts_every_node_once(tmp_path: Path) -> None:
    subject, path = BLOCKS["residual"], tmp_path / "block"
    backend = open_backend("host-onnxruntime")
    backend.prepare(subject, path)
    placement = backend.load(subject, path).placement
    num_nodes = len([node for node in onnx.load(path).graph.node if node.op_type != "Constant"])
    assert placement is not None
    assert set(placement) == {"CPUExecutionProvider"}
    assert 0.5 * num_nodes < placement["CPUExecutionProvider"] <= num_nodes  # constant nodes are folded first


@pytest.mark.skipif("AzureExecutionProvider" not in onnxruntime.get_available_providers(), reason="not in this build")
def test_placement_tells_what_a_provider_left_to_the_processor(tmp_path: Path) -> None:
    subject, path = BLOCKS["conv"], tmp_path / "block"
    backend = open_backend("host-onnxruntime:provider=Azure")  # it takes remote calls only, of which there are none
    backend.prepare(subject, path)
    assert backend.device.name == "host-onnxruntime:provider=azure"
    assert backend.device.runtime.endswith("AzureExecutionProvider, which may compute in another number format")
    assert set(backend.load(subject, path).placement or ()) == {"CPUExecutionProvider"}


@pytest.mark.skipif(
    "OpenVINOExecutionProvider" not in onnxruntime.get_available_providers(), reason="not in this build"
)
def test_openvino_as_a_provider_uses_as_many_threads_as_were_given(tmp_path: Path) -> None:
    subject, path = BLOCKS["residual"], tmp_path / "block"
    backend = open_backend("host-onnxruntime:provider=openvino")
    backend.prepare(subject, path)
    runner = backend.load(subject, path)
    runner.run(20)
    before = os.times()
    elapsed_s = runner.run(200)
    after = os.times()
    assert (
        after.user + after.system - before.user - before.system < 1.1 * elapsed_s
    )  # it took 1.25 cores left to itself
    assert set(runner.placement or ()) == {"OpenVINOExecutionProvider"}


@pytest.mark.skipif("QNNExecutionProvider" in onnxruntime.get_available_providers(), reason="it is in this build")
def test_a_provider_of_another_build_is_unavailable() -> None:
    with pytest.raises(DeviceUnavailableError, match="install the build of ONNX Runtime with QNN") as caught:
        open_backend("host-onnxruntime:provider=qnn")
    assert "cpu" in str(caught.value)


def test_a_provider_nobody_knows_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="did you mean cpu") as caught:
        open_backend("host-onnxruntime:provider=cpuu")
    assert not isinstance(caught.value, DeviceUnavailableError)
