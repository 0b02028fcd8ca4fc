"""The one file that travels: it trusts no file it did not check, loses no round, and needs nothing of the project."""

import ast
import asyncio
import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from profilers.bundling import run_bundle
from profilers.bundling.run_bundle import (
    HUNG_AFTER_S,
    BundleError,
    CoreMLRunner,
    Journal,
    Loaded,
    Rules,
    ThermalState,
    connected_device,
    groups,
    is_finished,
    load_packed,
    measure,
    parse_pmset,
    require_macos,
    this_machine,
    verified_manifest,
    wait_for_slow_loads,
    wait_until_cool,
)
from tests.profilers.bundling.conftest import BreakingRunner, CountedRunner, PretendRunner, cool, pretend_to_be_mac

RULES = Rules(
    min_rounds=8,
    max_rounds=20,
    stable_half_width=0.01,
    sentinel_every=2,
    max_group_bytes=100,
    num_loads=1,
    max_cooling_s=0.0,
    seed=0,
)
HEADER = {"machine": "a"}
SIZES = {"a": 60, "b": 60, "c": 10}


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # -I: neither the checkout nor the environment can lend it a module.
    command = [sys.executable, "-I", str(folder / "run_bundle.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")


def test_an_untouched_bundle_passes_and_a_tampered_one_does_not(bundle: Path) -> None:
    assert _run(bundle, "--check").returncode == 0
    model = next((bundle / "models").iterdir())
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    refused = _run(bundle, "--check")
    assert refused.returncode == 1
    assert f"models/{model.name}" in refused.stderr
    assert refused.stderr.count("\n") <= 3
    model.unlink()
    with pytest.raises(BundleError, match="missing"):
        verified_manifest(bundle)


@pytest.mark.skipif(sys.platform == "darwin", reason="here it would really measure")
def test_without_macos_it_says_so(bundle: Path) -> None:
    stopped = _run(bundle)
    assert stopped.returncode == 1
    assert "only on macOS" in stopped.stderr
    assert stopped.stderr.count("\n") <= 3
    assert not (bundle / "results.json").exists()


@pytest.mark.skipif(sys.platform == "darwin", reason="here it would really load")
def test_coremltools_takes_a_model_up_to_the_point_where_core_ml_is_missing(bundle: Path) -> None:
    archive_path = next((bundle / "models").iterdir())
    with asyncio.Runner() as events, pytest.raises(ValueError, match="Failed to load model"):
        load_packed(archive_path, units="cpu_and_ne", remote=None, num_loads=1, events=events)


def test_an_older_python_is_told_so_before_it_meets_what_it_cannot_read() -> None:
    path = Path(run_bundle.__file__)
    _docstring, first, check, *_ = ast.parse(path.read_text(), feature_version=(3, 9)).body
    assert ast.unparse(first) == "import sys"
    assert ast.unparse(check).startswith("if sys.version_info < (3, 11)")
    script = f"import runpy, sys; sys.version_info = (3, 9, 6); runpy.run_path({str(path)!r}, run_name='__main__')"
    stopped = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False)
    assert (stopped.returncode, stopped.stdout) == (1, "")
    assert stopped.stderr.startswith("run_bundle.py was started with Python 3.9\n")
    assert stopped.stderr.count("\n") == 3


def test_an_old_macos_and_a_missing_package_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_to_be_mac(monkeypatch, macos="14.0")
    require_macos()
    pretend_to_be_mac(monkeypatch, macos="13.6.1")
    with pytest.raises(BundleError, match="this is macOS 13.6.1\nallowed: macOS 14 or newer"):
        require_macos()
    pretend_to_be_mac(monkeypatch)

    def not_found(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", not_found)
    with pytest.raises(BundleError, match="-m pip install coremltools numpy"):
        require_macos()


def test_macs_of_one_model_are_told_apart_by_their_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_to_be_mac(monkeypatch)
    machine = this_machine("mac")
    assert (machine.hardware, machine.operating_system) == ("Apple M2, Mac14,2, 8 cores, 10 GPU cores", "macOS 15.1")
    pretend_to_be_mac(monkeypatch, gpu="")  # as on a Mac of Intel
    assert this_machine("mac").hardware == "Apple M2, Mac14,2, 8 cores"


def test_without_xcode_its_own_words_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_to_be_mac(monkeypatch)
    with pytest.raises(BundleError, match='unable to find utility "devicectl".*\nfix: install Xcode') as error:
        this_machine("iphone")
    assert str(error.value).count("\n") <= 2


def test_help_needs_no_library(bundle: Path) -> None:
    shown = _run(bundle, "--help")
    assert shown.returncode == 0
    assert "cpu_and_gpu" in shown.stdout


def pretend(
    sizes: Mapping[str, int],
    journal: Journal,
    *,
    load: Callable[[str], PretendRunner] = lambda _: PretendRunner(0.002),
    read_thermal: Callable[[], ThermalState] = cool,
) -> None:
    """Measures models that take 2 ms."""
    measure(sizes, load, sentinel_id="s", rules=RULES, units="all", journal=journal, read_thermal=read_thermal)


def test_every_model_is_measured_interleaved_and_between_looks_at_the_sentinel(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", HEADER)
    pretend(SIZES, journal)
    samples_ms = journal.samples_ms("all")
    assert {name: len(samples) for name, samples in samples_ms.items()} == dict.fromkeys(SIZES, RULES.min_rounds)
    assert set(samples_ms["a"]) == {2.0}
    journal.write_results(tmp_path / "results.json")
    journal.close()
    entries = json.loads((tmp_path / "results.json").read_bytes())["entries"]
    assert [entry["model"] for entry in entries if entry["kind"] == "load"] == ["a", "b", "c"]
    rounds = [entry for entry in entries if entry["kind"] == "round"]
    assert len(rounds) == 2 * RULES.min_rounds  # a alone, then b and c: together they are too large
    assert len({tuple(sample["model"] for sample in entry["samples"]) for entry in rounds}) == 3
    for entry in rounds:
        positions = [probe["position"] for probe in entry["probes"]]
        assert (positions[0], positions[-1]) == (0, len(entry["samples"]))


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path, HEADER)
    pretend({"a": 1}, journal)
    journal.close()
    *lines, _environment, _end = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines)[:-20])  # killed while it wrote the last round
    resumed = Journal(path, HEADER)
    assert len(resumed.samples_ms("all")["a"]) == RULES.min_rounds - 1
    pretend({"a": 1}, resumed)
    resumed.close()
    again = Journal(path, HEADER)
    assert len(again.samples_ms("all")["a"]) == RULES.min_rounds

    def nothing_is_left(name: str) -> PretendRunner:
        raise AssertionError(name)

    pretend({"a": 1}, again, load=nothing_is_left)
    again.close()
    with pytest.raises(BundleError, match="another machine"):
        Journal(path, {"machine": "b"})


def test_a_hot_machine_is_waited_for_before_every_round_but_not_for_ever(tmp_path: Path) -> None:
    hot = parse_pmset("CPU_Speed_Limit \t= 62\n")
    readings = iter([hot, hot, cool()])
    said: list[str] = []
    wait_until_cool(lambda: next(readings), said.append, max_wait_s=60, poll_s=0)
    assert list(readings) == []
    assert said == ["cooling down: limited to 62 % speed"] * 2
    journal = Journal(tmp_path / "journal", HEADER)
    pretend({"a": 1}, journal, read_thermal=lambda: hot)
    journal.close()
    assert len(journal.samples_ms("all")["a"]) == RULES.min_rounds


def test_what_cannot_run_is_a_result_too(tmp_path: Path) -> None:
    def load(name: str) -> PretendRunner:
        if name == "b":
            raise RuntimeError("too large for the Neural Engine")
        return PretendRunner(0.002)

    journal = Journal(tmp_path / "journal", HEADER)
    pretend(SIZES, journal, load=load)
    assert journal.failed("all") == {"b"}
    assert set(journal.samples_ms("all")) == {"a", "c"}
    assert journal.failed("cpu_only") == set()
    journal.close()


def test_a_model_that_breaks_in_a_round_is_a_result_and_the_others_go_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", HEADER)
    sizes = dict.fromkeys("abcde", 1)
    pretend(sizes, journal, load=lambda name: BreakingRunner(40 if name == "b" else -1))
    assert journal.failed("all") == {"b"}
    counts = {name: len(samples) for name, samples in journal.samples_ms("all").items()}
    assert 0 < counts.pop("b") < RULES.min_rounds
    assert counts == dict.fromkeys("acde", RULES.min_rounds)
    journal.write_results(tmp_path / "results.json")
    for entry in json.loads((tmp_path / "results.json").read_bytes())["entries"]:
        if entry["kind"] == "round":
            positions = [probe["position"] for probe in entry["probes"]]
            assert positions == [*range(0, len(entry["samples"]), RULES.sentinel_every), len(entry["samples"])]
    journal.close()


def test_a_broken_device_is_not_every_models_failure(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", HEADER)
    is_broken = False

    class Device(PretendRunner):
        def run(self, num_runs: int) -> float:
            if is_broken:
                raise RuntimeError("the app is gone")
            return super().run(num_runs)

    def load(name: str) -> PretendRunner:
        nonlocal is_broken
        is_broken = name == "b"
        return Device(0.002)

    with pytest.raises(BundleError, match="not even the sentinel runs") as error:
        pretend(dict.fromkeys("abc", 1), journal, load=load)
    assert str(error.value).count("\n") <= 2
    assert journal.failed("all") == {"b"}
    journal.close()


def test_where_the_sentinel_cannot_run_no_model_is_tried(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", HEADER)

    def load(name: str) -> PretendRunner:
        assert name == "s"
        raise ValueError("Failed to load model")

    with pytest.raises(BundleError, match="not even the sentinel runs .*Failed to load model"):
        pretend(SIZES, journal, load=load)
    assert journal.failed("all") == set()
    journal.close()


def test_a_model_that_kills_the_process_twice_is_not_tried_again(tmp_path: Path) -> None:
    def die(sync: bool) -> set[str]:
        journal = Journal(tmp_path / "journal", HEADER)
        journal.begin("all", "a", sync=sync)
        journal.close()
        *lines, _end = (tmp_path / "journal").read_bytes().splitlines(keepends=True)
        (tmp_path / "journal").write_bytes(b"".join(lines))  # without the line that a living process writes last
        return journal.failed("all")

    assert die(sync=True) == set()
    assert die(sync=False) == set()  # the first may have been chance
    resumed = Journal(tmp_path / "journal", HEADER)
    assert resumed.failed("all") == {"a"}
    for _ in range(2):
        resumed.begin("all", "b")
        resumed.close()
        resumed = Journal(tmp_path / "journal", HEADER)
    assert resumed.failed("all") == {"a"}  # Ctrl-C while b was loading is not b's fault
    resumed.close()


def test_a_living_run_is_not_taken_for_a_dead_one(tmp_path: Path) -> None:
    living = Journal(tmp_path / "journal", HEADER)
    for _ in range(3):
        living.begin("all", "a")
        with pytest.raises(BundleError, match="another run_bundle.py writes journal") as error:
            Journal(tmp_path / "journal", HEADER)
        assert str(error.value).count("\n") == 2
    living.close()
    resumed = Journal(tmp_path / "journal", HEADER)
    assert resumed.failed("all") == set()
    resumed.close()


def test_a_model_that_hangs_ends_the_process_and_is_not_tried_a_third_time(tmp_path: Path) -> None:
    """Whether it hangs while it is loaded or, the next time, in a round."""
    hanging = f"""
import ctypes, pathlib, sys
from profilers.bundling import run_bundle

class Runner:  # imports less, and so begins sooner, than the other tests' runner
    load_ms, placement, is_remote, num_calls = [1.0], None, False, 0

    def __init__(self, name):
        self.name = name
        self.hang("load")

    def hang(self, where):
        if (self.name, sys.argv[1]) == ("b", where):
            ctypes.PyDLL(None).sleep(60)  # keeps Python's lock, as a hang may

    def run(self, num_runs):
        self.num_calls += 1
        if self.num_calls > 30:
            self.hang("round")
        return 0.002 * num_runs

run_bundle.HUNG_AFTER_S = 1.0
run_bundle.measure(
    {SIZES},
    Runner,
    sentinel_id="s",
    rules=run_bundle.{RULES},
    units="all",
    journal=run_bundle.Journal(pathlib.Path({str(tmp_path / "journal")!r}), {HEADER}),
    read_thermal=run_bundle.unknown_thermal_state,
)
"""
    for hangs_at in ("load", "round"):
        command = [sys.executable, "-c", hanging, hangs_at]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
        assert ended.returncode == 1
        assert "Timeout" in ended.stderr
    resumed = Journal(tmp_path / "journal", HEADER)
    assert resumed.failed("all") == {"b"}
    pretend(SIZES, resumed)
    counts = {name: len(samples) for name, samples in resumed.samples_ms("all").items()}
    assert 0 < counts.pop("b") < RULES.min_rounds
    assert counts == dict.fromkeys("ac", RULES.min_rounds)
    resumed.close()


def test_an_unsteady_model_gets_more_rounds() -> None:
    assert not is_finished([1.0] * 7, RULES)
    assert is_finished([1.0] * 8, RULES)
    unsteady = [1.0, 1.1] * 10
    assert not is_finished(unsteady[:19], RULES)
    assert is_finished(unsteady, RULES)


@pytest.mark.parametrize(("run_s", "num_calls"), [(0.049, 2), (0.051, 1)])
def test_a_large_network_runs_once_for_a_sample_as_with_a_checkout(run_s: float, num_calls: int) -> None:
    runner = CountedRunner(run_s)
    loaded = Loaded(runner)
    runner.num_calls = 0
    assert loaded.sample_ms() == pytest.approx(1000 * run_s)
    assert runner.num_calls == num_calls


def test_a_connected_device_is_sent_a_model_s_runs_one_by_one_and_no_more_than_are_needed() -> None:
    runner = CountedRunner(0.0001, is_remote=True)
    loaded = Loaded(runner)
    assert (runner.num_calls, loaded.num_runs) == (2, 1)
    assert loaded.sample_ms() == pytest.approx(0.1)
    assert runner.num_calls == 3


def test_groups_hold_what_fits() -> None:
    assert list(groups({"a": 60, "b": 60, "c": 10, "d": 500}.items(), 100)) == [["a"], ["b", "c"], ["d"]]


@pytest.mark.parametrize("team", ["", "ABC", "ABCDE12345; rm -rf /"])
def test_a_team_that_is_none_never_reaches_a_shell(team: str) -> None:
    with pytest.raises(BundleError, match="ten letters and digits"):
        connected_device("iphone", team, None)  # type: ignore[arg-type]


def test_coremltools_waits_for_a_slow_load_on_a_connected_device(monkeypatch: pytest.MonkeyPatch) -> None:
    from coremltools.models.ml_program.experimental import remote_device

    monkeypatch.setattr(remote_device, "_DeviceCtlRemoteService", remote_device._DeviceCtlRemoteService)  # put back
    wait_for_slow_loads(remote_device)

    async def service() -> Any:
        return remote_device._DeviceCtlRemoteService(socket=None)  # as `load_on_device` makes it, in a running loop

    with asyncio.Runner() as events:
        waiting = events.run(service())
    assert "_DeviceCtlRemoteService" in remote_device._RemoteMLModelService.load_on_device.__code__.co_names
    assert 120 < waiting.max_attempts * waiting.poll_time < HUNG_AFTER_S / 2


def test_placement_counts_which_device_runs_which_operator() -> None:
    class MLCPUComputeDevice: ...

    class MLNeuralEngineComputeDevice: ...

    def operation(kind: str, device: object) -> SimpleNamespace:
        usage = None if device is None else SimpleNamespace(preferred_compute_device=device)
        return SimpleNamespace(spec=SimpleNamespace(type=kind), compute_device_usage=usage)

    class Benchmarker:
        async def benchmark_operation_execution(self, inputs: object, iterations: int) -> list[SimpleNamespace]:
            engine, cpu = MLNeuralEngineComputeDevice(), MLCPUComputeDevice()
            placed = [("conv", engine), ("conv", engine), ("conv", cpu), ("softmax", cpu), ("const", None)]
            return [operation(kind, device) for kind, device in placed]

    with asyncio.Runner() as events:
        runner = object.__new__(CoreMLRunner)  # whose own making needs a Mac
        runner.__dict__.update(_events=events, _benchmarker=Benchmarker(), _inputs={})
        assert runner.placement == {"neural_engine conv": 2, "cpu conv": 1, "cpu softmax": 1}
