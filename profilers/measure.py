"""Measures every distinct block that a search space can reach: `python -m profilers.measure --space tiny`.

Not only blocks that were sampled: a search asks for the latency of architectures nobody has seen. What the table holds
is not measured again, so the same command goes on after a kill and has nothing to do the second time.
"""

import sys
import time
from dataclasses import dataclass

from sqlalchemy import Engine

from profilers.backends.registry import DEFAULT_DEVICE, open_backend
from profilers.campaign import Protocol, run_campaign
from profilers.latency_table import Coverage, LatencyTable
from profilers.measurement import Measurement
from profilers.storage import DEFAULT_STORAGE, display_url, open_engine
from profilers.subject import Subject
from search_space import command_line
from search_space.arch import ArchConfig
from search_space.errors import SnapNASError
from search_space.space import SearchSpace, reachable_specs
from search_space.spaces import search_space


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


def measure_space(
    space: SearchSpace, device_name: str, engine: Engine, *, again: bool = False, protocol: Protocol | None = None
) -> Coverage:
    """Measures what the table lacks of a space and returns what it then holds.

    Args:
        space: The search space.
        device_name: A name of `profilers.backends.registry.DEVICE_NAMES`.
        engine: From `profilers.storage.open_engine`.
        again: Whether blocks that were unstable or failed are measured from the start again.
        protocol: The measuring rules; the default ones are for use, others for tests.
    """
    backend = open_backend(device_name)
    table = LatencyTable(engine)
    specs = reachable_specs(space)
    coverage = table.coverage(specs, backend.device)
    unfinished = coverage.missing
    if again:
        unfinished += coverage.unstable + coverage.failed
        table.forget(backend.device, [Subject.of_block(spec) for spec in coverage.unstable + coverage.failed])
    if not unfinished:
        return coverage
    subjects = [Subject.of_block(spec) for spec in unfinished]
    run_campaign(subjects, backend, table, description=f"measuring {device_name}", protocol=protocol)
    return table.coverage(specs, backend.device)


def measure_network(arch: ArchConfig, device_name: str, engine: Engine) -> Measurement:
    """Measures one whole network, or returns what the table holds of it.

    Raises:
        SnapNASError: The device cannot run it.
    """
    backend = open_backend(device_name)
    table = LatencyTable(engine)
    subject = Subject.of_network(arch)
    measurement = table.measurement(backend.device, subject)
    if measurement is not None:
        return measurement
    run_campaign([subject], backend, table, description=f"measuring {arch.arch_id}")
    measurement = table.measurement(backend.device, subject)
    if measurement is None:
        reason = table.records(backend.device, [subject])[subject].reason
        raise SnapNASError(f"{device_name} could not run the network {arch.arch_id}: {reason}")
    return measurement


def measure(options: MeasureOptions) -> None:
    """The command."""
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
    print(_summary(coverage, options, device_id=device.device_id), file=sys.stderr)
    if options.json:
        command_line.print_json(
            {
                "space": options.space,
                "device": options.device,
                "device_id": device.device_id,
                "num_specs": sum(map(len, (coverage.present, coverage.unstable, coverage.failed, coverage.missing))),
                "num_measured_now": num_missing - len(coverage.missing),
                "num_present": len(coverage.present),
                "num_unstable": len(coverage.unstable),
                "num_failed": len(coverage.failed),
                "num_missing": len(coverage.missing),
                "duration_s": round(duration_s, 1),
            }
        )


def _summary(coverage: Coverage, options: MeasureOptions, *, device_id: str) -> str:
    text = f"{options.space} on {options.device} ({device_id}): {len(coverage.present)} blocks known to +-1 %"
    if coverage.unstable:
        text += f", {len(coverage.unstable)} less well (--again measures them once more)"
    if coverage.failed:
        text += f", {len(coverage.failed)} failed (--again tries once more)"
    return text


if __name__ == "__main__":
    command_line.run(measure, MeasureOptions, prog="profilers.measure")
