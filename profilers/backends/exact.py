"""A pretend device whose latency is an exact function of multiply-accumulates.

It makes the table, the estimate, the search and the dashboard testable in seconds, to the last digit, on any machine:
a block takes 0.05 ms and 1 ms more for every hundred million multiply-accumulates, a network the sum of its blocks.
"""

from pathlib import Path

from profilers.backends.abstract import AbstractBackend, AbstractRunner
from profilers.device import Device
from profilers.subject import Subject
from search_space.arch_json import arch_from_json
from search_space.counts import macs
from search_space.specs import BlockSpec, spec_from_key
from search_space.walk import block_specs

OVERHEAD_MS = 0.05
MACS_PER_MS = 1e8


def exact_latency_ms(spec: BlockSpec) -> float:
    return OVERHEAD_MS + macs(spec) / MACS_PER_MS


class ExactBackend(AbstractBackend):
    """The device `exact`."""

    @property
    def device(self) -> Device:
        return Device(
            name="exact",
            backend="exact",
            hardware=f"none: {OVERHEAD_MS} ms and {MACS_PER_MS:.0f} macs a millisecond",
            operating_system="none",
            runtime="exact 1",
            precision="fp32",
            threads=1,
            is_estimate=True,
        )

    def prepare(self, subject: Subject, path: Path) -> None:
        pass  # nothing is loaded from a file

    def load(self, subject: Subject, path: Path) -> AbstractRunner:
        match subject.kind:
            case "block":
                return ComputedRunner(exact_latency_ms(spec_from_key(subject.text)))
            case "network":
                specs = block_specs(arch_from_json(subject.text))
                return ComputedRunner(sum(map(exact_latency_ms, specs)))


class ComputedRunner(AbstractRunner):
    """Says how long it would have taken, at once."""

    def __init__(self, latency_ms: float) -> None:
        self._latency_ms = latency_ms

    def run(self, num_runs: int) -> float:
        return num_runs * self._latency_ms / 1000
