"""`python -m benchmarks.measure_space`: how long a space takes to be measured, and what a SIGKILL on the way costs.

Runs `profilers.measure` into an empty database and times it. Then it does so again, kills the command once without a
warning, and types it once more, as a user would: how many of the samples that the database held at the kill are still
there in the end? Where only so many minutes are given, the first of the two is left out.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profilers.backends.registry import open_backend
from profilers.defaults import DEFAULT_DEVICE
from profilers.device import Device
from profilers.environment import provenance
from profilers.latency_table import LatencyTable
from profilers.measurement import Sample
from profilers.storage import open_engine
from profilers.subject import Subject
from search_space import command_line
from search_space.errors import SnapNASError, UsageError
from search_space.space import reachable_specs
from search_space.spaces import search_space

FOLDER = Path(__file__).parent
WANTED_S = {"tiny": 120.0, "snapgen@64": 3600.0}
"""How long these spaces may take."""

Samples = Mapping[Subject, Sequence[Sample]]


@dataclass(frozen=True, kw_only=True)
class MeasureSpaceOptions:
    """Measures a space from nothing, with a SIGKILL on the way, and writes how long it took and what was lost."""

    space: str = "tiny"
    """Search space: tiny, mid or snapgen; snapgen@64 has latents of 64 x 64."""
    device: str = DEFAULT_DEVICE
    """Device, such as host-onnxruntime or host-onnxruntime:threads=2."""
    minutes: float = 0.0
    """Measure what says most of the space for so long, both commands together; 0: every block."""
    kill_after_s: float = 60.0
    """When the first command is killed; 0: never."""
    json: bool = False
    """Print the result as one JSON line on stdout."""

    def __post_init__(self) -> None:
        for flag, value in (("--minutes", self.minutes), ("--kill-after-s", self.kill_after_s)):
            if not 0 <= value < float("inf"):
                raise UsageError(f"{flag} {value} was given", allowed="0 or more")
        if self.minutes and 60 * self.minutes <= self.kill_after_s:
            raise UsageError(f"--minutes {self.minutes} was given", allowed="more than --kill-after-s")


@dataclass(frozen=True, kw_only=True)
class MeasuredSpace:
    """What two commands and a kill between them left."""

    killed_after_s: float | None
    """When the first command was killed; None where it was done before."""
    num_samples_at_kill: int
    """What the database held then."""
    num_lost: int
    """How many of these are not there any more."""
    num_samples: int
    """What it holds in the end."""
    duration_s: float
    """Both commands together."""
    undisturbed_s: float | None
    """One command that is not killed; None where none was run."""
    found: Mapping[str, Any]
    """The document of `profilers.measure --json`."""


def measure_space_killed(options: MeasureSpaceOptions) -> None:
    """The command."""
    result = run_and_kill(options)
    page = "\n".join(_page(result, open_backend(options.device).device, options))
    print(page, file=sys.stderr)
    (FOLDER / f"measure_space_{options.space.replace('@', '_')}.md").write_text(page)
    if options.json:
        command_line.print_json(vars(result))


def run_and_kill(options: MeasureSpaceOptions) -> MeasuredSpace:
    """Measures the space into a database of its own.

    Raises:
        SnapNASError: The second command failed.
    """
    undisturbed_s = None
    if options.kill_after_s and not options.minutes:
        undisturbed_s = run_and_kill(dataclasses.replace(options, kill_after_s=0.0)).duration_s
    with tempfile.TemporaryDirectory(prefix="snapnas-measure-space-") as folder:
        url = f"sqlite:///{folder}/table.db"
        LatencyTable(open_engine(url))  # a command that is killed at once has a database to look at as well
        start_s = time.monotonic()
        first = subprocess.Popen(_command(options, url, elapsed_s=0.0), stdout=subprocess.DEVNULL)
        killed_after_s = None
        try:
            first.wait(timeout=options.kill_after_s or None)
        except subprocess.TimeoutExpired:
            first.kill()
            first.wait()
            killed_after_s = time.monotonic() - start_s
        kept = _samples(options, url)
        command = _command(options, url, elapsed_s=time.monotonic() - start_s)
        duration_s = time.monotonic() - start_s
        second = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if killed_after_s is not None:  # or else there was nothing left to do
            duration_s = time.monotonic() - start_s
        if second.returncode != 0:
            raise SnapNASError(
                f"profilers.measure ended with exit code {second.returncode}", fix="see its message above"
            )
        samples = _samples(options, url)
        return MeasuredSpace(
            killed_after_s=killed_after_s,
            num_samples_at_kill=sum(map(len, kept.values())),
            num_lost=num_lost(kept, samples),
            num_samples=sum(map(len, samples.values())),
            duration_s=duration_s,
            undisturbed_s=undisturbed_s,
            found=json.loads(second.stdout),
        )


def num_lost(before: Samples, after: Samples) -> int:
    """How many samples of before are not there, by when they were taken and what they said."""
    return sum(
        (sample.taken_at, sample.raw_ms) not in {(other.taken_at, other.raw_ms) for other in after.get(subject, ())}
        for subject, samples in before.items()
        for sample in samples
    )


def _command(options: MeasureSpaceOptions, url: str, *, elapsed_s: float) -> list[str]:
    command = [sys.executable, "-m", "profilers.measure", "--space", options.space, "--device", options.device]
    command += ["--storage", url, "--json"]
    if options.minutes:
        command += ["--budget", f"{max(60 * options.minutes - elapsed_s, 1):.0f}s"]
    return command


def _samples(options: MeasureSpaceOptions, url: str) -> Samples:
    subjects = map(Subject.of_block, reachable_specs(search_space(options.space)))
    engine = open_engine(url)
    samples = LatencyTable(engine).samples(open_backend(options.device).device, subjects)
    engine.dispose()
    return samples


def _page(result: MeasuredSpace, device: Device, options: MeasureSpaceOptions) -> list[str]:
    command = f"python -m benchmarks.measure_space --space {options.space} --device {options.device}"
    command += f" --minutes {options.minutes:g}" if options.minutes else ""
    command += f" --kill-after-s {options.kill_after_s:g}"
    found, wanted_s = result.found, WANTED_S.get(options.space)
    kill = "The first command was never killed."
    if result.killed_after_s is not None:
        held = f"with {result.num_samples_at_kill:,} samples in the database; {result.num_lost} of them were lost"
        kill = f"SIGKILL after {result.killed_after_s:.0f} s, {held}. The same command went on."
    wanted = f" Wanted: within {wanted_s:.0f} s." if wanted_s else ""
    facts = {
        "blocks in the space": f"{found['num_specs']:,}",
        "known to +-1 %": f"{found['num_present']:,}",
        "less well": f"{found['num_unstable']:,}",
        "failed, or too large": f"{found['num_failed'] + found['num_does_not_fit']:,}",
        "not measured": f"{found['num_missing']:,}",
        "guessed of these": f"{found['num_guessed']:,}",
        "error of a guess": f"{found['guess_error_percent']:.1f} %",
        "samples": f"{result.num_samples:,}",
    }
    return [
        f"# A whole space: {options.space} on {device.name}",
        "",
        *provenance(device, command=command),
        "",
        f"{result.undisturbed_s or result.duration_s:.0f} s.{wanted}",
        *([f"Another time with a kill: {result.duration_s:.0f} s in all."] if result.undisturbed_s else []),
        kill,
        "",
        f"| {' | '.join(facts)} |",
        f"|{'---|' * len(facts)}",
        f"| {' | '.join(facts.values())} |",
        "",
    ]


if __name__ == "__main__":
    command_line.run(measure_space_killed, MeasureSpaceOptions, prog="benchmarks.measure_space")
