"""What `profilers.check` found, as a record, as text, as JSON and as a page for `benchmarks/`."""

import dataclasses
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from profilers.agreement import Agreement
from profilers.correction import Correction
from profilers.device import Device
from profilers.environment import record_environment
from profilers.measurement import Measurement

MAX_NOISE_FLOOR_PERCENT = 3.0  # at load 8 on 2 cores it was 14 %, and the scale three times too large


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """One comparison of estimates with whole networks."""

    device: Device
    """What was measured."""
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
    num_guessed: int = 0
    """How many of these blocks were guessed instead of measured."""

    @property
    def is_quiet(self) -> bool:
        """Whether the machine was quiet enough for the correction to be believed and stored."""
        return self.noise_floor_percent <= MAX_NOISE_FLOOR_PERCENT


def noise_floor_percent(measurements: Sequence[Measurement]) -> float:
    """Mean difference between the medians of every network's even and odd samples, in percent.

    No prediction can be expected to agree better with these measurements than they do with themselves.
    """
    differences = []
    for measurement in measurements:
        even_ms = statistics.median(measurement.samples_ms[::2])
        odd_ms = statistics.median(measurement.samples_ms[1::2])
        differences.append(abs(even_ms / odd_ms - 1))
    return 100 * statistics.fmean(differences)


def text(report: CheckReport) -> str:
    """The report for a terminal, which is also the body of the page."""
    correction = report.correction
    fate = "stored with the table" if report.is_quiet else "not stored: the machine was too busy to believe it"
    guessed = f"{report.num_guessed} of their {report.num_blocks} distinct blocks were guessed, the others measured."
    lines = [
        f"Fitted on {correction.num_networks} networks, judged on {correction.num_judges} ({correction.judged_on}).",
        "",
        *agreement_table(report.agreements),
        "",
        f"{len(report.measured_ms)} networks of {min(report.measured_ms):.2f} to {max(report.measured_ms):.2f} ms.",
        *([guessed] if report.num_blocks else []),
        f"{report.num_stable} of them are known to +-1 %; noise floor {report.noise_floor_percent:.2f} %.",
        correction.describe_coefficients(),
        f"95 % interval of an unseen network: +-{correction.relative_half_width:.1%}. The correction is {fate}.",
    ]
    return "\n".join(lines)


def agreement_table(agreements: Sequence[Agreement]) -> list[str]:
    """One line for each way to predict, under a heading, as Markdown."""
    heading = "| prediction | MAPE | bias | within 5 % | within 10 % | Spearman | Kendall |"
    return [heading, "|---|---|---|---|---|---|---|", *map(_table_line, agreements)]


def _table_line(row: Agreement) -> str:
    return (
        f"| {row.name} | {row.mape_percent:.2f} % | {row.bias_percent:+.2f} % | {row.within_5_percent:.0%} "
        f"| {row.within_10_percent:.0%} | {row.spearman:.3f} | {row.kendall:.3f} |"
    )


def markdown(report: CheckReport, *, command: str) -> str:
    """The report as a page with command, hardware and date."""
    networks = zip(report.measured_ms, report.estimated_ms, strict=True)
    lines = [
        f"# Latency table against whole networks: {report.space} on {report.device.name}",
        "",
        *provenance(report.device, command=command),
        "",
        text(report),
        "",
        "| measured ms | sum of the blocks ms | error |",
        "|---|---|---|",
        *(f"| {measured:.3f} | {plain:.3f} | {plain / measured - 1:+.1%} |" for measured, plain in sorted(networks)),
        "",
    ]
    return "\n".join(lines)


def provenance(device: Device, *, command: str) -> list[str]:
    """What every page of measurements opens with: the command, when, on which hardware, with which runtime."""
    environment = record_environment()
    threads = f"{device.threads} thread{'s' if device.threads > 1 else ''}"
    return [
        f"- command: `{command}`",
        f"- date: {environment.recorded_at}, commit {environment.commit or 'unknown'}",
        f"- hardware: {device.hardware}, {device.operating_system}, kernel {environment.kernel}",
        f"- runtime: {device.runtime}, {device.precision}, {threads}, Python {platform.python_version()}",
        f"- load average at the end: {environment.load_average}, governor: {environment.governor or 'not shown'}",
    ]


def json_document(report: CheckReport) -> dict[str, Any]:
    """The report for programs."""
    document = dataclasses.asdict(report)
    document["device_id"] = report.device.device_id
    return document
