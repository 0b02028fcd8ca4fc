"""One whole network run without a pause for minutes: what is left of a device's speed once it is warm.

A phone or a fanless laptop is fast for some seconds and slower for as long as it is hot. A campaign rests between its
samples and so measures the fast part; this measures the other. Every minute's median stands by itself: they are not
divided by any drift, for the drift is what is looked for.
"""

import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from profilers.backends.abstract import AbstractBackend
from profilers.device import Device
from profilers.needed_memory import reason_not_to_fit
from profilers.preparing import prepare_all
from profilers.protocol import Protocol
from profilers.subject import Subject
from profilers.temporary_folder import inherited_folder
from profilers.worker_client import Worker
from search_space.arch import ArchConfig
from search_space.errors import SnapNASError
from search_space.progress import progress

PERIOD_S = 60.0
_STRETCH_S = 2.0  # between two answers of the measuring process


@dataclass(frozen=True, kw_only=True)
class Period:
    """One minute, or what was left of the time in the last one."""

    start_s: float
    """Since the start."""
    num_samples: int
    """Loops that were timed."""
    median_ms: float
    """Of one run."""
    low_ms: float
    """A tenth of the samples are below."""
    high_ms: float
    """A tenth of the samples are above."""


@dataclass(frozen=True, kw_only=True)
class SustainedRun:
    """One network run continuously on one device."""

    device: Device
    """What it ran on."""
    arch_id: str
    """The network."""
    periods: tuple[Period, ...]
    """Minute after minute."""

    @property
    def drift_percent(self) -> float:
        """How much slower the last minute was than the first."""
        return 100 * (self.periods[-1].median_ms / self.periods[0].median_ms - 1)


def run_sustained(
    arch: ArchConfig, backend: AbstractBackend, *, duration_s: float, period_s: float = PERIOD_S
) -> SustainedRun:
    """Runs one network for so long.

    Raises:
        SnapNASError: The device cannot run it.
    """
    subject, device = Subject.of_network(arch), backend.device
    if device.is_estimate:
        raise SnapNASError(f"{device.name} is a formula and never becomes warm", fix="give a device with a clock")
    if reason := reason_not_to_fit(subject, backend.free_bytes(), backend.footprint):
        raise SnapNASError(f"the network does not fit on {device.name}: {reason}")
    with inherited_folder("snapnas-sustained-", work="") as folder:
        path = folder / "network.model"
        for _, failure in prepare_all({subject: path}, backend, time_limit_s=Protocol.preparing_limit_s):
            if failure is not None:
                raise SnapNASError(f"{device.name} cannot run the network: {failure}")
        # One limit for all of it: a network that has warmed up within it has run twice or more, so one run fits.
        with Worker(device.name, time_limit_s=Protocol.loading_limit_s) as worker:
            num_runs, _ = worker.load(subject, slot=0, path=path)
            stretches = _run_stretches(worker, num_runs=num_runs, duration_s=duration_s)
    return SustainedRun(device=device, arch_id=arch.arch_id, periods=periods_of(stretches, period_s=period_s))


def periods_of(stretches: Sequence[tuple[float, Sequence[float]]], *, period_s: float) -> tuple[Period, ...]:
    """Minutes from shorter stretches, each given by its start in seconds and its samples in milliseconds."""
    periods = []
    for index, members in itertools.groupby(stretches, key=lambda stretch: int(stretch[0] // period_s)):
        samples_ms = [sample_ms for _, stretch_ms in members for sample_ms in stretch_ms]
        tenths_ms = statistics.quantiles(samples_ms, n=10, method="inclusive") if len(samples_ms) > 1 else samples_ms
        period = Period(
            start_s=index * period_s,
            num_samples=len(samples_ms),
            median_ms=statistics.median(samples_ms),
            low_ms=tenths_ms[0],
            high_ms=tenths_ms[-1],
        )
        periods.append(period)
    return tuple(periods)


def _run_stretches(worker: Worker, *, num_runs: int, duration_s: float) -> list[tuple[float, list[float]]]:
    """Each stretch's start, by the clock, and its samples.

    A stretch ends with a whole run, so that of a slow network takes longer than was asked for.
    """
    stretches = []
    with progress("running without a pause", total=round(duration_s), unit="second") as bar:
        began_s, done_s = time.monotonic(), 0.0
        while done_s < duration_s:
            stretch_s = min(_STRETCH_S, duration_s - done_s)
            samples_ms = worker.sustain(0, num_runs=num_runs, duration_s=stretch_s)
            stretches.append((done_s, samples_ms))
            now_s = time.monotonic() - began_s
            bar.advance(round(min(now_s, duration_s)) - round(done_s), note=f"{statistics.median(samples_ms):.2f} ms")
            done_s = now_s
    return stretches
