"""What `profilers.check` found, as a record, as text, as JSON and as a page for `benchmarks/`."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from profilers.agreement import Agreement, agreement_table
from profilers.correction import Correction
from profilers.device import Device
from profilers.environment import provenance
from profilers.noise_floor import TOO_BUSY, is_quiet


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """One comparison of estimates with whole networks."""

    device: Device
    """What was measured."""
    is_here: bool
    """Whether it was measured now, on this machine; else the table held what it had measured."""
    space: str
    """The search space of the architectures."""
    measured_ms: tuple[float, ...]
    """Medians of the whole networks."""
    estimated_ms: tuple[float, ...]
    """Plain sums of their blocks, in the same order."""
    num_stable: int
    """Networks whose median is known to +-1 %."""
    noise_floor_percent: float
    """How far two halves of the same network's samples are apart, mean over the networks."""
    agreements: tuple[Agreement, ...]
    """Every way to predict, the plain sum first."""
    correction: Correction
    """The fitted coefficients with their validation card."""
    num_blocks: int = 0
    """Distinct blocks of the networks; counted only where some may be guessed."""

    @property
    def is_quiet(self) -> bool:
        """Whether the correction is believed and stored."""
        return is_quiet(self.noise_floor_percent)


def text(report: CheckReport) -> str:
    """The report for a terminal, which is also the body of the page."""
    correction = report.correction
    fate = "stored with the table" if report.is_quiet else TOO_BUSY
    guessed = f"{correction.num_guessed} of their {report.num_blocks} distinct blocks were guessed from the others."
    estimates = f"Every millisecond is an estimate: {report.device.name} is a formula, and nothing was measured."
    known = f"{report.num_stable} of them are known to +-1 %; noise floor {report.noise_floor_percent:.2f} %."
    lines = [
        *([estimates] if report.device.is_estimate else []),
        f"Fitted on {correction.num_networks} networks, judged on {correction.num_judges} ({correction.judged_on}).",
        "",
        *agreement_table(report.agreements),
        "",
        f"{len(report.measured_ms)} networks of {min(report.measured_ms):.2f} to {max(report.measured_ms):.2f} ms.",
        *([guessed] if report.num_blocks else []),
        *([] if report.device.is_estimate else [known]),
        correction.describe_coefficients(),
        f"95 % interval of an unseen network: +-{correction.relative_half_width:.1%}. The correction is {fate}.",
    ]
    return "\n".join(lines)


def markdown(report: CheckReport, *, command: str) -> str:
    """The report as a page with command, hardware and date."""
    whole = "estimate of the whole ms" if report.device.is_estimate else "measured ms"
    networks = zip(report.measured_ms, report.estimated_ms, strict=True)
    lines = [
        f"# Latency table against whole networks: {report.space} on {report.device.name}",
        "",
        *provenance(report.device, command=command, is_here=report.is_here),
        "",
        text(report),
        "",
        f"| {whole} | sum of the blocks ms | error |",
        "|---|---|---|",
        *(f"| {measured:.3f} | {plain:.3f} | {plain / measured - 1:+.1%} |" for measured, plain in sorted(networks)),
        "",
    ]
    return "\n".join(lines)


def json_document(report: CheckReport) -> dict[str, Any]:
    """The report for programs."""
    document = dataclasses.asdict(report)
    document["device_id"] = report.device.device_id
    return document
