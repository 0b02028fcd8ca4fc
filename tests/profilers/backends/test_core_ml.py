"""Core ML: models are prepared anywhere and run on macOS only; a name says what is chosen."""

import dataclasses
import json
import mmap
import sys
import zipfile
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from deploy.to_core_ml import read_core_ml
from profilers.backends.abstract import DeviceUnavailableError
from profilers.backends.core_ml import CoreMLBackend, CoreMLOptions, _CoreMLRunner, core_ml_device
from profilers.backends.device_options import read_options
from profilers.bundling.models import check_model
from profilers.bundling.results import MachineRecord
from profilers.bundling.run_bundle import Machine, this_machine
from profilers.subject import Subject
from profilers.worker import SLOT_FORMAT, _Desk
from search_space.errors import UsageError
from search_space.specs import NormOutSpec
from tests.profilers.bundling.conftest import CountedRunner, PretendRunner, pretend_to_be_mac

MACHINE = Machine("mac", "Apple M3 Pro, Mac15,7", "macOS 15.1", "9.0")
SUBJECT = Subject.of_block(NormOutSpec(channels=8, size=8, norm_groups=4))


def test_units_and_layout_key_a_device() -> None:
    plain = core_ml_device(MACHINE, CoreMLOptions())
    chosen = core_ml_device(MACHINE, CoreMLOptions(units="cpu_and_ne", layout="split_einsum"))
    assert plain.name == "core-ml"
    assert chosen.name == "core-ml:units=cpu_and_ne,layout=split_einsum"
    assert plain.device_id != chosen.device_id
    assert (plain.precision, plain.is_estimate) == ("fp16", False)
    assert "coremltools 9.0" in plain.runtime


@pytest.mark.parametrize(
    ("given", "named"),
    [({"units": "ane"}, "cpu_and_ne"), ({"unit": "all"}, "did you mean units"), ({"layout": "split"}, "split_einsum")],
)
def test_a_wrong_option_names_the_right_ones(given: dict[str, str], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        read_options("core-ml", CoreMLOptions, given)


def test_what_is_unpacked_is_the_package_that_was_packed(tmp_path: Path) -> None:
    """A block without large weights has an empty folder for them, which its package names."""
    CoreMLBackend().prepare(SUBJECT, tmp_path / "block")
    assert [path.name for path in tmp_path.iterdir()] == ["block"]
    with zipfile.ZipFile(tmp_path / "block") as archive:
        archive.extractall(tmp_path / "block.mlpackage")
    check_model(SUBJECT, read_core_ml(tmp_path / "block.mlpackage"), layout="plain")


def test_a_model_is_prepared_on_any_system(tmp_path: Path) -> None:
    CoreMLBackend().prepare(SUBJECT, tmp_path / "block.model")
    with zipfile.ZipFile(tmp_path / "block.model") as archive:
        assert "Data/com.apple.CoreML/model.mlmodel" in archive.namelist()


def test_a_worker_keeps_the_time_that_core_ml_took_to_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a bundle does; by the worker's clock it would hold the unpacking, or the building of a phone's app."""
    runner = _CoreMLRunner(PretendRunner(0.002))  # type: ignore[arg-type]
    monkeypatch.setattr(CoreMLBackend, "load", lambda *_: runner)
    with mmap.mmap(-1, SLOT_FORMAT.size) as slot_file:
        desk = _Desk(CoreMLBackend(), slot_file)
        answer = desk.answer({"load": dataclasses.asdict(SUBJECT), "slot": 0, "path": "block"})
    assert answer["load_ms"] == PretendRunner(0.002).load_ms[0]


def test_a_worker_sends_no_more_runs_to_a_phone_than_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = CountedRunner(0.0001, is_remote=True)
    monkeypatch.setattr(CoreMLBackend, "load", lambda *_: _CoreMLRunner(counted))  # type: ignore[arg-type]
    with mmap.mmap(-1, SLOT_FORMAT.size) as slot_file:
        desk = _Desk(CoreMLBackend(), slot_file)
        answer = desk.answer({"load": dataclasses.asdict(SUBJECT), "slot": 0, "path": "block"})
        assert (counted.num_calls, answer["num_runs"]) == (2, 1)
        desk.answer({"sample": 0, "num_runs": 1})
    assert counted.num_calls == 3


def test_a_mac_is_one_device_with_a_checkout_and_with_a_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = set()
    for num_cores, num_gpu_cores in ((8, 8), (8, 10), (10, 10)):
        pretend_to_be_mac(monkeypatch, num_cores=num_cores, gpu=f'"gpu-core-count" = {num_gpu_cores}')
        device = CoreMLBackend().device
        assert device.hardware.endswith(f", {num_cores} cores, {num_gpu_cores} GPU cores")
        sent = json.dumps(dataclasses.asdict(this_machine("mac")))
        received = TypeAdapter(MachineRecord).validate_json(sent)
        assert core_ml_device(Machine(**dataclasses.asdict(received)), CoreMLOptions()).device_id == device.device_id
        ids.add(device.device_id)
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("options", "macos", "named"),
    [(CoreMLOptions(target="iphone"), "15.1", "install Xcode"), (CoreMLOptions(), "13.6", "macOS 14 or newer")],
)
def test_what_a_mac_lacks_is_told(
    options: CoreMLOptions, macos: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_to_be_mac(monkeypatch, macos=macos)
    with pytest.raises(DeviceUnavailableError, match=named):
        _ = CoreMLBackend(options).device


@pytest.mark.skipif(sys.platform == "darwin", reason="here Core ML runs")
def test_running_needs_macos(tmp_path: Path) -> None:
    backend = CoreMLBackend()
    with pytest.raises(DeviceUnavailableError, match="only on macOS") as unavailable:
        backend.load(SUBJECT, tmp_path / "block.model")
    assert "python -m profilers.bundle --device core-ml" in str(unavailable.value)
    assert str(unavailable.value).count("\n") <= 2
    with pytest.raises(DeviceUnavailableError):
        _ = backend.device


@pytest.mark.skipif(sys.platform != "darwin", reason="Core ML runs models only on macOS")
def test_a_prepared_model_runs(tmp_path: Path) -> None:
    backend = CoreMLBackend(CoreMLOptions(units="cpu_only"))
    backend.prepare(SUBJECT, tmp_path / "block.model")
    runner = backend.load(SUBJECT, tmp_path / "block.model")
    assert runner.run(2) > 0
    assert runner.placement is None or {name.partition(" ")[0] for name in runner.placement} <= {
        "cpu",
        "gpu",
        "neural_engine",
    }
