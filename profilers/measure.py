"""`python -m profilers.measure --space tiny`: measures every distinct block that a search space can reach."""

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profilers.defaults import DEFAULT_DEVICE, DEFAULT_STORAGE
from search_space import command_line

if TYPE_CHECKING:
    from profilers.device import Device
    from profilers.latency_record import Coverage


@dataclass(frozen=True, kw_only=True)
class MeasureOptions:
    """Measures the latency of every block that a search space can reach, once, on one device.

    To resume, run the same command again.
    """

    space: str = "tiny"
    """Search space: tiny or snapgen."""
    device: str = DEFAULT_DEVICE
    """Device: host-onnxruntime, host-torch or exact."""
    storage: str = DEFAULT_STORAGE
    """Database URL: sqlite:///file.db or postgresql://user:password@host/database."""
    again: bool = False
    """Measure the blocks that were unstable or failed once more."""
    json: bool = False
    """Print the coverage as one JSON line on stdout."""


def measure(options: MeasureOptions) -> None:
    """The command; what it needs is imported when it runs, so that `--help` comes at once."""
    from profilers.backends.registry import open_backend
    from profilers.latency_table import LatencyTable
    from profilers.measuring import measure_space
    from profilers.storage import display_url, open_engine
    from search_space.space import reachable_specs
    from search_space.spaces import search_space

    space = search_space(options.space)
    device = open_backend(options.device).device
    engine = open_engine(options.storage)
    num_missing = len(LatencyTable(engine).coverage(reachable_specs(space), device).missing)
    start_s = time.monotonic()
    coverage = measure_space(space, options.device, engine, again=options.again)
    duration_s = time.monotonic() - start_s
    if num_missing or options.again:
        print(f"measured in {duration_s:.0f} s into {display_url(options.storage)}", file=sys.stderr)
    else:
        print("nothing to measure", file=sys.stderr)
    print(_summary(coverage, options, device), file=sys.stderr)
    if options.json:
        command_line.print_json(
            {
                "space": options.space,
                "device": options.device,
                "device_id": device.device_id,
                "is_estimate": device.is_estimate,
                "num_specs": sum(map(len, (coverage.present, coverage.unstable, coverage.failed, coverage.missing))),
                "num_measured_now": num_missing - len(coverage.missing),
                "num_present": len(coverage.present),
                "num_unstable": len(coverage.unstable),
                "num_failed": len(coverage.failed),
                "num_missing": len(coverage.missing),
                "duration_s": round(duration_s, 1),
            }
        )


def _summary(coverage: "Coverage", options: MeasureOptions, device: "Device") -> str:
    known = "estimated by a formula, never measured" if device.is_estimate else "known to +-1 %"
    text = f"{options.space} on {options.device} ({device.device_id}): {len(coverage.present)} blocks {known}"
    if coverage.unstable:
        text += f", {len(coverage.unstable)} less well (--again measures them once more)"
    if coverage.failed:
        text += f", {len(coverage.failed)} failed (--again tries once more)"
    return text


if __name__ == "__main__":
    command_line.run(measure, MeasureOptions, prog="profilers.measure")
