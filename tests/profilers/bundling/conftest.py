"""A real bundle of two converted blocks, made once, and a Mac that pretends to run a bundle's models."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest

from profilers.backends import core_ml
from profilers.bundling import run_bundle
from profilers.bundling.run_bundle import Journal, Rules, ThermalState, file_sha256, measure
from profilers.bundling.writing import write_bundle

MACHINE = {
    "target": "mac",
    "hardware": "Apple M3 Pro, Mac15,7, 12 cores, 18 GPU cores",
    "operating_system": "macOS 15.1",
    "coremltools": "9.0",
}


def cool() -> ThermalState:
    """What a Mac says that is not too hot."""
    return ThermalState(sensors=("CPU_Speed_Limit: 100",), complaint=None)


class PretendRunner:
    """Takes exactly as long as it says."""

    def __init__(self, run_s: float, *, is_remote: bool = False) -> None:
        self._run_s = run_s
        self.is_remote = is_remote
        self.load_ms = [12.0, 3.0]
        self.placement = {"neural_engine conv": 5, "cpu softmax": 1}

    def run(self, num_runs: int) -> float:
        return num_runs * self._run_s


class BreakingRunner(PretendRunner):
    """Runs a few times, 2 ms each, and then no more."""

    def __init__(self, num_good_calls: int) -> None:
        super().__init__(0.002)
        self._num_left = num_good_calls

    def run(self, num_runs: int) -> float:
        if self._num_left == 0:
            raise RuntimeError("Unable to compute the prediction")
        self._num_left -= 1
        return super().run(num_runs)


class CountedRunner(PretendRunner):
    """Counts what it was called for."""

    num_calls = 0

    def run(self, num_runs: int) -> float:
        self.num_calls += 1
        return super().run(num_runs)


def pretend_to_be_mac(
    monkeypatch: pytest.MonkeyPatch, *, macos: str = "15.1", num_cores: int = 8, gpu: str = '"gpu-core-count" = 10'
) -> None:
    """Lets this machine answer as a MacBook Air does, one without Xcode."""
    answers = {
        ("sw_vers", "-productVersion"): macos,
        ("sysctl", "-n", "machdep.cpu.brand_string"): "Apple M2",
        ("sysctl", "-n", "hw.model"): "Mac14,2",
        ("ioreg", "-r", "-d", "1", "-c", "AGXAccelerator"): f"+-o AGXAcceleratorG14G\n    {{\n      {gpu}\n    }}",
    }

    def answer(*words: str) -> str:
        if words[0] == "xcrun":
            no_xcode = (
                'xcrun: error: sh -c ...\nxcrun: error: unable to find utility "devicectl", not a developer tool\n'
            )
            raise subprocess.CalledProcessError(72, words, stderr=no_xcode)
        return answers[words]

    monkeypatch.setattr(run_bundle, "_command", answer)
    monkeypatch.setattr(os, "cpu_count", lambda: num_cores)
    for module in (run_bundle, core_ml):
        monkeypatch.setattr(module, "sys", Mock(platform="darwin", executable=sys.executable))


@pytest.fixture(scope="session")
def written_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    write_bundle(folder, "tiny", layout="plain", units=["cpu_and_ne"], max_blocks=2)
    return folder


@pytest.fixture
def bundle(written_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(written_bundle, tmp_path / "bundle")


@pytest.fixture
def results(bundle: Path) -> Path:
    """What a pretend Mac measured: the first model takes 2 ms, the next 3 ms."""
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    runs_s = {model["model_id"]: 0.002 + 0.001 * index for index, model in enumerate(manifest["models"])}
    return pretend_to_measure(bundle, lambda name: PretendRunner(runs_s.get(name, 0.001)))


def pretend_to_measure(bundle: Path, load: Callable[[str], PretendRunner]) -> Path:
    """Runs the protocol of `run_bundle.py` over models that take as long as they say."""
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    header = {"schema_version": 2, "manifest_sha256": file_sha256(bundle / "manifest.json"), "machine": MACHINE}
    sizes = {model["model_id"]: model["weight_bytes"] for model in manifest["models"]}
    journal = Journal(bundle / "results.json.partial", header)
    measure(
        sizes,
        load,
        sentinel_id=manifest["sentinel"]["model_id"],
        rules=Rules(**manifest["protocol"]),
        units="cpu_and_ne",
        journal=journal,
        read_thermal=cool,
    )
    journal.write_results(bundle / "results.json")
    journal.close()
    return bundle / "results.json"
