"""`python -m profilers.measure`: every distinct block of a search space, or one network for minutes without a pause."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from profilers.defaults import DEFAULT_DEVICE, DEFAULT_STORAGE
from search_space import command_line
from search_space.errors import UsageError

if TYPE_CHECKING:
    from profilers.device import Device
    from profilers.latency_record import Coverage


@dataclass(frozen=True, kw_only=True)
class MeasureOptions:
    """Measures the latency of every block that a search space can reach, once, on one device.

    To resume, run the same command again. With --sustained one whole network runs without a pause instead.
    """

    space: str = "tiny"
    """Search space: tiny, mid or snapgen; snapgen@64 has latents of 64 x 64."""
    device: str = DEFAULT_DEVICE
    """Device, with its options if any: host-onnxruntime, host-onnxruntime:threads=2, host-torch, exact..."""
    storage: str = DEFAULT_STORAGE
    """Database URL: sqlite:///file.db or postgresql://user:password@host/database."""
    max_rounds: int = 0
    """Samples of everything that is not known to +-1 % before; 0: 50 (8 of a block with --budget, 2 of a formula)."""
    budget: str = ""
    """Measure for so long, 90s, 60m or 2h, and those blocks first that say most of the others."""
    again: bool = False
    """Measure the blocks that were unstable, failed or did not fit once more."""
    sustained: str = ""
    """Run the network of --arch for so long, 90s or 10m, and print the median of every minute. Stores nothing."""
    arch: str = ""
    """For --sustained: a reference's name (sd15, snapgen_t2i...) or an architecture's JSON file."""
    figure: str = ""
    """For --sustained: write the medians over time to this HTML file."""
    json: bool = False
    """Print what was found as one JSON line on stdout."""

    def __post_init__(self) -> None:
        command_line.require_folder_of(self.figure, option="--figure")
        if self.sustained and not self.arch:
            raise UsageError("--sustained needs a network", fix="--arch with a reference's name or a JSON file")
        if (self.arch or self.figure) and not self.sustained:
            raise UsageError("--arch and --figure are for --sustained", fix="--sustained 10m")
        if self.sustained:
            self._refuse_options_of_the_table()
        if self.budget and self.again:
            raise UsageError("--budget was given with --again", allowed="one of them")

    def _refuse_options_of_the_table(self) -> None:
        """Refuses what says how a space is measured into the table where neither is touched."""
        names = ("space", "storage", "max_rounds", "budget", "again")
        given = [name for name in names if getattr(self, name) != getattr(MeasureOptions, name)]
        if given:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise UsageError(
                f"--sustained was given with {options}",
                allowed="--device, --arch, --figure and --json: it runs one network and stores nothing",
                fix=f"leave out {options}, or --sustained",
            )


def measure(options: MeasureOptions) -> None:
    """The command; what it needs is imported when it runs, so that `--help` comes at once."""
    if options.sustained:
        _measure_sustained(options)
    else:
        _measure_space(options)


def _measure_space(options: MeasureOptions) -> None:
    from profilers.backends.registry import open_backend
    from profilers.budgeted import Guessable, measure_within
    from profilers.durations import duration_s_of
    from profilers.latency_table import LatencyTable
    from profilers.load_report import summary_of
    from profilers.measuring import measure_space
    from profilers.protocol import protocol_of
    from profilers.storage import display_url, open_engine
    from profilers.subject import Subject
    from search_space.space import reachable_specs
    from search_space.spaces import search_space

    space = search_space(options.space)
    device = open_backend(options.device).device
    engine = open_engine(options.storage)
    table = LatencyTable(engine)
    specs = reachable_specs(space)
    before = table.coverage(specs, device)
    num_wanted = len(before.missing)
    if options.again:
        num_wanted += len(before.unstable) + len(before.failed) + len(before.does_not_fit)
    start_s = time.monotonic()
    protocol = protocol_of(options.max_rounds)
    if options.budget:
        budget_s = duration_s_of(options.budget)
        coverage = measure_within(space, options.device, engine, budget_s=budget_s, protocol=protocol)
    else:
        coverage = measure_space(space, options.device, engine, again=options.again, protocol=protocol)
    duration_s = time.monotonic() - start_s
    if num_wanted:
        print(f"measured in {duration_s:.0f} s into {display_url(options.storage)}", file=sys.stderr)
    else:
        print("nothing to measure", file=sys.stderr)
    print(_summary(coverage, options, device), file=sys.stderr)
    guessable = Guessable.of_missing(coverage.missing, table, device)
    if coverage.missing:
        print(guessable.describe(), file=sys.stderr)
    if options.json:
        reports = table.load_reports(device, map(Subject.of_block, specs)).values()
        command_line.print_json(
            {
                "space": options.space,
                "device": options.device,
                "device_id": device.device_id,
                "is_estimate": device.is_estimate,
                "num_specs": len(specs),
                "num_measured_now": num_wanted - len(coverage.missing),
                "num_present": len(coverage.present),
                "num_unstable": len(coverage.unstable),
                "num_failed": len(coverage.failed),
                "num_does_not_fit": len(coverage.does_not_fit),
                "num_missing": len(coverage.missing),
                **guessable.to_document(),
                "duration_s": round(duration_s, 1),
                "loading": summary_of(list(reports)),
            }
        )


def _summary(coverage: "Coverage", options: MeasureOptions, device: "Device") -> str:
    known = "estimated by a formula, never measured" if device.is_estimate else "known to +-1 %"
    text = f"{options.space} on {options.device} ({device.device_id}): {len(coverage.present)} blocks {known}"
    if coverage.unstable:
        text += f", {len(coverage.unstable)} less well (--again measures them once more)"
    if coverage.failed:
        text += f", {len(coverage.failed)} failed (--again tries once more)"
    if coverage.does_not_fit:
        text += f", {len(coverage.does_not_fit)} too large for the memory that was free"
    return text


def _measure_sustained(options: MeasureOptions) -> None:
    from rich.console import Console

    from profilers.backends.registry import open_backend
    from profilers.durations import duration_s_of
    from profilers.sustained import run_sustained
    from profilers.sustained_report import json_document, table, write_figure
    from search_space.describe import read_arch

    duration_s = duration_s_of(options.sustained)
    run = run_sustained(read_arch(options.arch), open_backend(options.device), duration_s=duration_s)
    Console(stderr=True).print(table(run))
    if options.figure:
        write_figure(run, Path(options.figure))
    if options.json:
        command_line.print_json(json_document(run))


if __name__ == "__main__":
    command_line.run(measure, MeasureOptions, prog="profilers.measure")
