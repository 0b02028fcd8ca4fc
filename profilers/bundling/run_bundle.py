"""Measures the Core ML models beside this file; needs Python 3.11, coremltools and numpy, and no checkout.

    pip install coremltools numpy
    caffeinate -i python run_bundle.py                             this Mac
    caffeinate -i python run_bundle.py --units cpu_and_ne,all      other compute units than the bundle asks for
    python run_bundle.py --connected iphone --team ABCDE12345      the iPhone or iPad on the cable (needs Xcode)
    python run_bundle.py --check                                   only compares every file with the manifest

Every model is measured once a round, in a new random order each round, because a machine that gets slower while it
works would otherwise make the later models look slow. One fixed model, the sentinel, is measured again and again to see
by how much. Nothing is corrected here: what was timed is written down, with the state of the machine, and judged where
the results are read. A Mac that says it is too hot is left alone for up to a minute before the next round.

Every round is kept when it ends. To resume, run the same command again. A model at which the process died, or was ended
after half an hour without an answer, is tried once more, because that could be chance: a window that was closed, a
power cut. Then it is left out as failed. At the end, and after Ctrl-C, results.json holds everything so far: send it
back to `python -m profilers.bundle --import results.json`. This is one long file because it travels alone.
"""

import sys

# Ahead of everything that an older one cannot read; Apple's own python3 is 3.9.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        f"run_bundle.py was started with Python {sys.version_info[0]}.{sys.version_info[1]}\n"
        "allowed: Python 3.11 or newer\n"
        "fix: install it from python.org, then: python3.13 -m pip install coremltools numpy; python3.13 run_bundle.py"
    )

import argparse
import asyncio
import dataclasses
import datetime
import faulthandler
import functools
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import random
import re
import subprocess
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

ModelT = TypeVar("ModelT")

SCHEMA_VERSION = 2
MIN_MACOS = 14  # of the models, whose format is that of iOS 17
PACKAGES = ("coremltools", "numpy")
UNITS = ("all", "cpu_only", "cpu_and_gpu", "cpu_and_ne")

MIN_WARM_UP_RUNS = 2
MIN_WARM_UP_S = 0.05  # a cold small block can take 39 times its median
MIN_SAMPLE_S = 0.001  # enough for the clock
LONG_RUN_S = 0.05  # of a large network; seen with networks of 117 ms and more, on one processor
SAMPLES_PER_PROBE = 3  # of the sentinel, of which the median counts
COOLING_POLL_S = 2.0
HUNG_AFTER_S = 1800.0  # Core ML compiles a large network for minutes
MAX_REMOTE_LOOKS = 300  # half a second and a call of devicectl each: about five minutes

DIED = "twice the process died, or was ended after half an hour, while it loaded or ran this model"

_SYSTEMS = {"iphone": "iOS", "ipad": "iPadOS"}

_COMPUTE_DEVICES = {
    "MLCPUComputeDevice": "cpu",
    "MLGPUComputeDevice": "gpu",
    "MLNeuralEngineComputeDevice": "neural_engine",
}


class BundleError(Exception):
    """What stops a run, in at most three lines."""


@dataclass(frozen=True)
class Rules:
    """The bundle's measuring rules; see `protocol` in the manifest."""

    min_rounds: int
    max_rounds: int
    stable_half_width: float
    sentinel_every: int
    max_group_bytes: int
    num_loads: int
    max_cooling_s: float
    seed: int


@dataclass(frozen=True)
class ThermalState:
    """What a machine shows of its heat at one moment."""

    sensors: tuple[str, ...]
    """What was read, as "name: reading"; empty where the system shows nothing."""
    complaint: str | None
    """Why the machine is too hot; None while it is not, or where nothing is shown."""


class Runner(Protocol):
    """One loaded model."""

    @property
    def load_ms(self) -> Sequence[float]:
        """How long each of its loads took."""

    @property
    def placement(self) -> Mapping[str, int] | None:
        """Operators by compute device."""

    @property
    def is_remote(self) -> bool:
        """Whether every run is sent to another device, which takes seconds that are not timed."""

    def run(self, num_runs: int) -> float:
        """Seconds that so many runs took, one after another."""


@dataclass(frozen=True)
class Machine:
    """What is measured on; `target` is mac, iphone or ipad."""

    target: str
    hardware: str
    operating_system: str
    coremltools: str


def main() -> None:
    """The command."""
    options = _options()
    folder = Path(__file__).resolve().parent
    try:
        manifest = verified_manifest(folder)
        if options.check:
            print("every file is the one that was written")
            return
        require_macos()
        hide_torch()
        unit_names = options.units.split(",") if options.units else manifest["units"]
        with asyncio.Runner() as events:
            _measure_bundle(folder, manifest, options, events, unit_names=unit_names)
    except BundleError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped by Ctrl-C; to resume, type the same command again")


def _options() -> argparse.Namespace:
    summary, _, details = str(__doc__).partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--units", default="", help=f"compute units, with commas: {', '.join(UNITS)}")
    parser.add_argument("--connected", choices=("iphone", "ipad"), help="measure on the device on the cable")
    parser.add_argument("--team", default="", help="Apple development team that signs the app on a connected device")
    parser.add_argument("--results", default="results.json", help="where the results go")
    parser.add_argument("--check", action="store_true", help="compare the files with the manifest and stop")
    options = parser.parse_args()
    for name in options.units.split(",") if options.units else ():
        if name not in UNITS:
            parser.error(f"--units {name} was given; allowed: {', '.join(UNITS)}")
    return options


def verified_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, once every file has the sha256 that it names."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise BundleError(f"{folder} has no manifest.json\nfix: copy the whole folder again")
    manifest: dict[str, Any] = json.loads(path.read_bytes())
    if manifest["job"]["schema_version"] != SCHEMA_VERSION:
        raise BundleError("manifest.json and run_bundle.py are of different versions\nfix: copy the whole folder again")
    files = {"run_bundle.py": manifest["runner_sha256"]}
    for model in [manifest["sentinel"], *manifest["models"]]:
        files[f"models/{model['model_id']}.zip"] = model["sha256"]
    for name, sha256 in files.items():
        if not (folder / name).is_file():
            raise BundleError(f"{name} is missing\nfix: copy the whole folder again")
        if file_sha256(folder / name) != sha256:
            raise BundleError(f"{name} is not the file that was written: its sha256 differs\nfix: copy it again")
    return manifest


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_macos() -> None:
    """Looks whether the models can run here.

    Raises:
        BundleError: This is no Mac, or an old one, or a package is not installed.
    """
    if sys.platform != "darwin":
        raise BundleError(
            f"Core ML runs models only on macOS, this is {platform.system()}\n"
            "fix: copy this folder to a Mac and run it there"
        )
    version = macos_version()
    if int(version.partition(".")[0]) < MIN_MACOS:
        raise BundleError(
            f"this is macOS {version}\nallowed: macOS {MIN_MACOS} or newer, which the models' format needs\n"
            "fix: update macOS, or take another Mac"
        )
    for name in PACKAGES:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise BundleError(
                f"{name} is not installed for {sys.executable}\n"
                f"fix: {sys.executable} -m pip install {' '.join(PACKAGES)}"
            ) from None


def macos_version() -> str:
    """As macOS says it itself; some builds of Python only say "10.16"."""
    return _command("sw_vers", "-productVersion")


def hide_torch() -> None:
    """coremltools would import torch where it finds it, and torch's threads would disturb what is measured."""
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]


def _measure_bundle(
    folder: Path,
    manifest: dict[str, Any],
    options: argparse.Namespace,
    events: asyncio.Runner,
    *,
    unit_names: Sequence[str],
) -> None:
    machine = this_machine(options.connected or "mac")
    read_thermal = unknown_thermal_state if options.connected else mac_thermal_state
    rules = Rules(**manifest["protocol"])
    results_path = folder / options.results
    header = {
        "schema_version": SCHEMA_VERSION,
        "manifest_sha256": file_sha256(folder / "manifest.json"),
        "machine": dataclasses.asdict(machine),
    }
    journal = Journal(results_path.with_name(f"{results_path.name}.partial"), header)
    sizes = {model["model_id"]: model["weight_bytes"] for model in manifest["models"]}
    sentinel_id = manifest["sentinel"]["model_id"]
    try:  # the app is started on the device only when no other process measures there
        remote = connected_device(options.connected, options.team, events) if options.connected else None
        for units in unit_names:

            def load(model_id: str, units: str = units) -> Runner:
                archive_path = folder / "models" / f"{model_id}.zip"
                return load_packed(archive_path, units=units, remote=remote, num_loads=rules.num_loads, events=events)

            measure(
                sizes,
                load,
                sentinel_id=sentinel_id,
                rules=rules,
                units=units,
                journal=journal,
                read_thermal=read_thermal,
            )
    finally:
        journal.write_results(results_path)
        journal.close()
    print(f"{results_path} is complete: send it back to where the bundle came from")


# The protocol: which model is run when.


def measure(
    sizes: Mapping[str, int],
    load: Callable[[str], Runner],
    *,
    sentinel_id: str,
    rules: Rules,
    units: str,
    journal: "Journal",
    read_thermal: Callable[[], ThermalState],
) -> None:
    """Measures what the journal does not hold yet.

    Args:
        sizes: Bytes of weights by model.
        load: Gives a model ready to run; an exception means that the device cannot run it.
        sentinel_id: The model that is measured between all others.
        rules: The measuring rules.
        units: The compute units, for the journal.
        journal: Where everything is kept.
        read_thermal: Says how hot the machine is.

    Raises:
        BundleError: The sentinel cannot run.
    """
    journal.add("environment", units, **environment_facts(read_thermal()))
    failed = journal.failed(units)
    samples_ms = journal.samples_ms(units)
    for group in groups([item for item in sizes.items() if item[0] not in failed], rules.max_group_bytes):
        active = [name for name in group if not is_finished(samples_ms.get(name, []), rules)]
        if not active:
            continue
        try:
            with end_process_after(HUNG_AFTER_S):
                sentinel = Loaded(load(sentinel_id))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"[:200]
            raise BundleError(f"{units}: not even the sentinel runs ({reason})\nallowed: other --units") from error
        runners: dict[str, Loaded] = {}
        for name in active:
            journal.begin(units, name)
            try:
                with end_process_after(HUNG_AFTER_S):
                    runner = load(name)
                    loaded, placement = Loaded(runner), runner.placement
            except Exception as error:  # noqa: BLE001 - what Core ML cannot run is a result too
                add_failure(journal, units, name, error, sentinel=sentinel)
                continue
            runners[name] = loaded
            load_ms = list(runner.load_ms)
            journal.add(
                "load", units, model=name, load_ms=load_ms, first_run_ms=loaded.first_run_ms, placement=placement
            )
        _say(f"{units}: loaded {len(runners)} of {len(active)} models")
        while runners:
            wait_until_cool(read_thermal, _say, max_wait_s=rules.max_cooling_s)
            _measure_round(runners, sentinel, samples_ms, rules=rules, units=units, journal=journal)
            for name in [name for name in runners if is_finished(samples_ms[name], rules)]:
                del runners[name]
        num_done = sum(is_finished(samples, rules) for samples in samples_ms.values())
        _say(f"{units}: {num_done} of {len(sizes)} models measured")
    journal.add("environment", units, **environment_facts(read_thermal()))


@contextmanager
def end_process_after(limit_s: float) -> Iterator[None]:
    """Ends a process that hangs in here, even inside Core ML, where Python can neither run a handler nor raise."""
    faulthandler.dump_traceback_later(limit_s, exit=True, file=2)  # stderr
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _measure_round(
    runners: dict[str, "Loaded"],
    sentinel: "Loaded",
    samples_ms: dict[str, list[float]],
    *,
    rules: Rules,
    units: str,
    journal: "Journal",
) -> None:
    """One sample of every model, in random order, with looks at the sentinel between them; drops what fails."""
    round_index = journal.num_rounds(units)
    order = sorted(runners)
    random.Random(f"{rules.seed} {units} {round_index}").shuffle(order)
    samples: list[dict[str, Any]] = []
    probes: list[dict[str, Any]] = []
    for name in order:
        with end_process_after(HUNG_AFTER_S):
            if not probes or len(samples) - probes[-1]["position"] == rules.sentinel_every:
                probes.append({"position": len(samples), "raw_ms": sentinel.probe_ms()})
            journal.begin(units, name, sync=False)
            taken_at = time.time()
            try:
                raw_ms = runners[name].sample_ms()
            except Exception as error:  # noqa: BLE001 - the others can still be measured
                add_failure(journal, units, name, error, sentinel=sentinel)
                del runners[name]
                continue
        num_runs = runners[name].num_runs
        samples.append({"model": name, "raw_ms": raw_ms, "num_runs": num_runs, "taken_at": taken_at})
        samples_ms.setdefault(name, []).append(raw_ms)
    if not samples:  # where the results are read, a round of nothing is none
        return
    with end_process_after(HUNG_AFTER_S):
        probes.append({"position": len(samples), "raw_ms": sentinel.probe_ms()})
    journal.add("round", units, round_index=round_index, samples=samples, probes=probes)
    _say(f"{units}: round {round_index + 1}, over {len(samples)} models")


def add_failure(journal: "Journal", units: str, model: str, error: Exception, *, sentinel: "Loaded") -> None:
    """Writes down that a model cannot run.

    Raises:
        BundleError: The sentinel cannot either: something else is broken, and the next model would fail as well.
    """
    text = f"{type(error).__name__}: {error}"[:1000]
    reason = "".join(letter if letter.isprintable() else " " for letter in text)  # no colours of a terminal
    journal.add("failure", units, model=model, reason=reason)
    try:
        sentinel.probe_ms()
    except Exception as cause:
        raise BundleError(
            f"after the model {model} ({reason[:200]}) not even the sentinel runs\nfix: type the same command again"
        ) from cause


# How one sample is taken; `profilers.timing` says why. Measuring with a checkout takes it with these very functions.


@dataclass(frozen=True)
class Sampling:
    """How samples of a model are taken. Settled once, for a sample that chose by its own value would be a lucky one."""

    num_runs: int
    """Runs of the timed loop, so many that it lasts a millisecond."""
    is_led: bool
    """Whether a run that is not timed goes before it; a long run is by itself as good as warm."""

    def take_ms(self, run: Callable[[int], float]) -> float:
        """Milliseconds of one run."""
        if self.is_led:
            run(1)
        return 1000 * run(self.num_runs) / self.num_runs


def warm_up(run: Callable[[int], float], *, first_run_s: float, is_remote: bool = False) -> Sampling:
    """Runs a model until it is warm; returns how its samples are taken.

    Args:
        run: Takes a number of runs, and gives the seconds they took one after another.
        first_run_s: What the first run took, which may load kernels for longer than a warm-up takes.
        is_remote: Whether every run is sent to another device. It is cold again after each of these seconds, and its
            own clock counts nanoseconds, so more runs than a warm-up has to have would help nothing.
    """
    if is_remote:
        run(MIN_WARM_UP_RUNS - 1)
        return Sampling(num_runs=1, is_led=False)
    num_runs = total_runs = 1
    last_s, total_s = first_run_s, 0.0
    while total_runs < MIN_WARM_UP_RUNS or total_s < MIN_WARM_UP_S:
        num_runs = runs_per_sample(last_s / num_runs)
        last_s = run(num_runs)
        total_runs, total_s = total_runs + num_runs, total_s + last_s
    run_s = last_s / num_runs
    is_short = run_s < LONG_RUN_S or run(1) < LONG_RUN_S  # a second run may be a slow one still
    return Sampling(num_runs=runs_per_sample(run_s), is_led=is_short)


def runs_per_sample(run_s: float) -> int:
    return max(1, math.ceil(MIN_SAMPLE_S / run_s))


class Loaded:
    """A warm model."""

    def __init__(self, runner: Runner) -> None:
        self._run = runner.run
        first_run_s = self._run(1)
        self.first_run_ms = 1000 * first_run_s
        self._sampling = warm_up(self._run, first_run_s=first_run_s, is_remote=runner.is_remote)

    @property
    def num_runs(self) -> int:
        return self._sampling.num_runs

    def sample_ms(self) -> float:
        return self._sampling.take_ms(self._run)

    def probe_ms(self) -> float:
        return sorted(self.sample_ms() for _ in range(SAMPLES_PER_PROBE))[SAMPLES_PER_PROBE // 2]


def groups(sizes: Iterable[tuple[ModelT, int]], max_group_bytes: int) -> Iterator[list[ModelT]]:
    """The models, each with the bytes of its weights, in portions that fit into memory together."""
    group: list[ModelT] = []
    group_bytes = 0
    for model, size in sizes:
        if group and group_bytes + size > max_group_bytes:
            yield group
            group, group_bytes = [], 0
        group.append(model)
        group_bytes += size
    if group:
        yield group


def is_finished(samples_ms: Sequence[float], rules: Rules) -> bool:
    """Whether the median is known well enough, by the samples around it that enclose it with 95 % certainty."""
    number = len(samples_ms)
    if number < rules.min_rounds or number >= rules.max_rounds:
        return number >= rules.max_rounds
    ordered = sorted(samples_ms)
    outer = max(math.floor(number / 2 - 0.98 * math.sqrt(number)), 1)  # the normal approximation of the binomial
    low_ms, high_ms = ordered[outer - 1], ordered[number - outer]
    return (high_ms - low_ms) / 2 <= rules.stable_half_width * ordered[number // 2]


class Journal:
    """Everything that was measured, one JSON line each, on the disk before the next begins.

    Beside it stands what is about to be tried: where that is the last line, the process died of it.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self._header = dict(header)
        self._file = open_alone(path)
        content = self._file.read()
        *lines, torn = content.split(b"\n")
        documents = [json.loads(line) for line in lines]
        if documents and documents[0] != self._header:
            self._file.close()
            raise BundleError(
                f"{path.name} was measured on another machine, or with another bundle\n"
                "fix: give another name with --results"
            )
        self._entries = [entry for entry in documents[1:] if entry["kind"] not in ("begin", "death", "end")]
        self._file.truncate(len(content) - len(torn))  # a torn line is where an earlier run was killed
        if not documents:
            self._append(self._header)
        elif documents[-1].get("kind") == "begin":
            death = {**documents[-1], "kind": "death"}
            if death in documents:  # the second one, which is no chance
                self.add("failure", death["units"], model=death["model"], reason=DIED)
            else:
                self._append(death)

    def begin(self, units: str, model: str, *, sync: bool = True) -> None:
        """Says that a model is about to be loaded or run, which can kill the process.

        Args:
            units: The compute units.
            model: The model.
            sync: Whether to wait for the disk, which survives the death of the whole machine, but disturbs a sample.
        """
        self._append({"kind": "begin", "units": units, "model": model}, sync=sync)

    def add(self, kind: str, units: str, **facts: Any) -> None:
        entry = {"kind": kind, "units": units, **facts}
        self._entries.append(entry)
        self._append(entry)

    def failed(self, units: str) -> set[str]:
        return {entry["model"] for entry in self._of("failure", units)}

    def num_rounds(self, units: str) -> int:
        return sum(1 for _ in self._of("round", units))

    def samples_ms(self, units: str) -> dict[str, list[float]]:
        """Every sample so far by model."""
        found: dict[str, list[float]] = {}
        for entry in self._of("round", units):
            for sample in entry["samples"]:
                found.setdefault(sample["model"], []).append(sample["raw_ms"])
        return found

    def write_results(self, path: Path) -> None:
        results = {**self._header, "entries": self._entries}
        temporary_path = path.with_name(f".{path.name}")
        temporary_path.write_text(json.dumps(results, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(temporary_path, path)

    def close(self) -> None:
        """Ends the journal of a process that was not killed."""
        self._append({"kind": "end"})
        self._file.close()

    def _of(self, kind: str, units: str) -> Iterable[dict[str, Any]]:
        return (entry for entry in self._entries if entry["kind"] == kind and entry["units"] == units)

    def _append(self, document: Mapping[str, Any], *, sync: bool = True) -> None:
        self._file.write(json.dumps(document, allow_nan=False).encode() + b"\n")
        self._file.flush()
        if sync:
            os.fsync(self._file.fileno())


def open_alone(path: Path) -> BinaryIO:
    """Opens a file to read it and append to it, for one process at a time.

    Raises:
        BundleError: Another process has it open. Its last line is no death, and both would slow each other.
    """
    import fcntl  # which Windows lacks

    file = path.open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise BundleError(
            f"another run_bundle.py writes {path.name}\n"
            "allowed: one at a time, because two would slow each other\n"
            "fix: wait until it has ended, or end it"
        ) from None
    file.seek(0)
    return file


# The machine: how hot it is, and what else it was doing.


def wait_until_cool(
    read_thermal: Callable[[], ThermalState],
    say: Callable[[str], None],
    *,
    max_wait_s: float,
    poll_s: float = COOLING_POLL_S,
) -> None:
    """Waits while the machine is too hot, but not for ever, and says so."""
    end_s = time.monotonic() + max_wait_s
    while (complaint := read_thermal().complaint) and time.monotonic() < end_s:
        say(f"cooling down: {complaint}")
        time.sleep(poll_s)


def environment_facts(thermal: ThermalState) -> dict[str, Any]:
    """What the machine was doing, to explain a strange row afterwards; nothing of it is part of a key."""
    return {
        "recorded_at": time.time(),
        "kernel": platform.release(),
        "load_average": os.getloadavg()[0],
        "sensors": thermal.sensors,
        "is_throttled": thermal.complaint is not None if thermal.sensors else None,
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
    }


def mac_thermal_state() -> ThermalState:
    return parse_pmset(_command("pmset", "-g", "therm"))


def unknown_thermal_state() -> ThermalState:
    """A connected device does not tell; the Mac it hangs on is another machine."""
    return ThermalState(sensors=(), complaint=None)


def parse_pmset(text: str) -> ThermalState:
    """What macOS answers to `pmset -g therm`: a speed limit in percent, or a warning level, or that there is none."""
    found = re.findall(r"(CPU_Speed_Limit|Thermal Warning Level)[ \t]*=[ \t]*(\d+)", text)
    limits = {name: int(value) for name, value in found}
    complaints = []
    if limits.get("CPU_Speed_Limit", 100) < 100:
        complaints.append(f"limited to {limits['CPU_Speed_Limit']} % speed")
    if limits.get("Thermal Warning Level", 0) > 0:
        complaints.append(f"thermal warning level {limits['Thermal Warning Level']}")
    sensors = tuple(f"{name}: {value}" for name, value in limits.items())
    return ThermalState(sensors=sensors, complaint=", ".join(complaints) or None)


# Core ML: only these parts need a Mac.


class CoreMLRunner:
    """One package, loaded and timed by coremltools' own benchmarker: Core ML's clock, without Python's part."""

    def __init__(self, package: Path, *, units: str, remote: Any, num_loads: int, events: asyncio.Runner) -> None:
        import coremltools
        from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker

        model = coremltools.models.MLModel(
            str(package), compute_units=coremltools.ComputeUnit[units.upper()], skip_model_load=True
        )
        self.is_remote = remote is not None
        number_format = "float32" if remote is None else "float16"  # coremltools' on a Mac, the model's on a phone
        self._inputs = {
            entry.name: example_input(entry.name, tuple(entry.type.multiArrayType.shape), number_format)
            for entry in model.get_spec().description.input
        }
        self._events = events
        self._benchmarker = MLModelBenchmarker(model, device=remote)
        with warnings.catch_warnings():  # its error would only say that loading failed, and this why
            warnings.filterwarnings("error", "You will not be able to run predict", RuntimeWarning)
            self.load_ms: list[float] = events.run(self._benchmarker.benchmark_load(iterations=num_loads)).samples

    def run(self, num_runs: int) -> float:
        predictions = self._benchmarker.benchmark_predict(self._inputs, iterations=num_runs, warmup=False)
        return float(sum(self._events.run(predictions).samples)) / 1000

    @property
    def placement(self) -> Mapping[str, int] | None:
        """How often each compute device runs which operator ("neural_engine conv"), from Core ML's plan.

        None where there is no such plan: before macOS 14.4, or where a connected device keeps it to itself.
        """
        try:
            operations = self._events.run(self._benchmarker.benchmark_operation_execution(self._inputs, iterations=1))
        except Exception:  # noqa: BLE001 - of whatever kind: the model has been loaded and can be timed
            return None
        found = Counter[str]()
        for operation in operations:
            device = type(getattr(operation.compute_device_usage, "preferred_compute_device", None)).__name__
            if device in _COMPUTE_DEVICES:
                found[f"{_COMPUTE_DEVICES[device]} {operation.spec.type}"] += 1
        return dict(found) or None


@functools.cache
def example_input(name: str, shape: tuple[int, ...], number_format: str) -> Any:
    """Normal numbers, the same for every model, and never freed.

    Core ML lets go of a run's inputs a second later, on a thread without Python's lock; the last owner must not be it.
    """
    import numpy

    seed = int.from_bytes(hashlib.sha256(f"{name} {shape}".encode()).digest()[:8])
    return numpy.random.default_rng(seed).standard_normal(shape).astype(number_format)


def load_packed(archive_path: Path, *, units: str, remote: Any, num_loads: int, events: asyncio.Runner) -> CoreMLRunner:
    """Unpacks and loads one model; what was unpacked goes at once, because Core ML keeps a copy of its own."""
    with tempfile.TemporaryDirectory(prefix="run-bundle-") as workplace:
        package = Path(workplace) / f"{archive_path.stem}.mlpackage"
        with zipfile.ZipFile(archive_path) as archive:
            archive.extractall(package)  # zipfile keeps every name inside the folder
        return CoreMLRunner(package, units=units, remote=remote, num_loads=num_loads, events=events)


def this_machine(target: str) -> Machine:
    """This Mac, or the iPhone or iPad on its cable, with the system's version but not its patch level."""
    if target == "mac":
        processor, model = (_command("sysctl", "-n", name) for name in ("machdep.cpu.brand_string", "hw.model"))
        hardware = with_gpu_cores(f"{processor}, {model}, {os.cpu_count()} cores")
        system, system_version = "macOS", macos_version()
    else:
        properties = _connected_properties(target)
        hardware = ", ".join(properties["hardwareProperties"][name] for name in ("marketingName", "productType"))
        system, system_version = _SYSTEMS[target], properties["deviceProperties"]["osVersionNumber"]
    minor_version = ".".join(system_version.split(".")[:2])
    return Machine(target, hardware, f"{system} {minor_version}", importlib.metadata.version("coremltools"))


def with_gpu_cores(hardware: str) -> str:
    """Adds this Mac's GPU cores, which Macs of one name differ in: "..., 18 GPU cores". Intel's Macs do not tell."""
    found = re.search(r'"gpu-core-count" = (\d+)', _command("ioreg", "-r", "-d", "1", "-c", "AGXAccelerator"))
    return f"{hardware}, {found[1]} GPU cores" if found else hardware


def connected_device(target: str, team: str, events: asyncio.Runner) -> Any:
    """Builds coremltools' model runner app, signs it and starts it on the device on the cable."""
    if re.fullmatch("[A-Z0-9]{10}", team) is None:  # coremltools puts it into a shell command
        raise BundleError("the Apple development team is missing\nallowed: its ten letters and digits")
    from coremltools.models.ml_program.experimental import remote_device

    identifier = _connected_properties(target)["identifier"]
    # An identifier of its own: Apple gives each to one team only, and coremltools' default to whoever came first.
    credentials = remote_device.AppSigningCredentials(
        development_team=team, bundle_identifier=f"org.snapnas.modelrunner.{team.lower()}"
    )
    try:
        wait_for_slow_loads(remote_device)
        connected = remote_device.Device.get_connected_devices(remote_device.DeviceType(target))
        devices = {device.identifier: device for device in connected}
        return events.run(devices[identifier].prepare_for_model_debugging(credentials=credentials))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise BundleError(
            f"coremltools could not start its app on the {target} ({reason})\n"
            "fix: build any app for it in Xcode once, with the same team"
        ) from error


def wait_for_slow_loads(remote_device: Any) -> None:
    """Lets coremltools wait minutes, not seconds, for an answer of a connected device.

    By itself it looks 20 times, and there Core ML compiles a large network for minutes. There is no setting for it, but
    `load_on_device` looks this class up when it runs. Not more than is needed: coremltools does not see that its app
    has died, and waits as long for that.
    """
    remote_device._DeviceCtlRemoteService = functools.partial(
        remote_device._DeviceCtlRemoteService, max_attempts=MAX_REMOTE_LOOKS
    )


def _connected_properties(target: str) -> dict[str, Any]:
    """What Xcode says of the first connected device of a type; coremltools reads it too, and drops the model's name."""
    with tempfile.TemporaryDirectory(prefix="run-bundle-") as folder:
        path = Path(folder) / "devices.json"
        try:
            _command("xcrun", "devicectl", "list", "devices", "--json-output", str(path))
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip() or str(error)).splitlines()[-1]
            raise BundleError(
                f"Xcode's devicectl does not look for the {target}: {reason[:200]}\n"
                "fix: install Xcode, open it once, then: sudo xcode-select --switch /Applications/Xcode.app"
            ) from error
        devices: list[dict[str, Any]] = json.loads(path.read_bytes())["result"]["devices"]
    for device in devices:
        is_connected = device["connectionProperties"].get("tunnelState") == "connected"
        if is_connected and device["hardwareProperties"].get("deviceType", "").lower() == target:
            return device
    raise BundleError(f"no {target} is connected\nfix: plug it in, unlock it, trust this Mac, allow developer mode")


def _command(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def _say(line: str) -> None:
    print(f"{datetime.datetime.now():%H:%M:%S} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
