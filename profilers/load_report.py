"""What loading a block or a network says, apart from its latency: how long, how cold, how large, and where it runs."""

import dataclasses
import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """One subject being loaded for the first time in the measuring process."""

    load_ms: float
    """From the file to a runner, with everything the runtime compiles or packs; of Core ML, what Core ML says itself.

    That leaves out the unpacking, and the first compilation, which is the same for every device.
    """
    first_run_ms: float
    """The cold start: the first run after loading."""
    peak_memory_mib: float | None
    """By how much loading and the first run raised the peak memory of the process, with `cuda-torch` that of the card.

    None where the system does not tell.
    """
    placement: Mapping[str, int] | None
    """Nodes of the graph by provider or delegate, with Core ML by device and operator ("neural_engine conv").

    None where the runtime does not tell.
    """

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))


def summary_of(reports: Sequence[LoadReport]) -> dict[str, Any] | None:
    """Medians and sums over many subjects, as plain data; None without any."""
    if not reports:
        return None
    peaks_mib = [report.peak_memory_mib for report in reports if report.peak_memory_mib is not None]
    placement = Counter[str]()
    for report in reports:
        placement.update(report.placement or {})
    nodes = Counter[str]()
    for name, num_nodes in placement.items():
        nodes[name.partition(" ")[0]] += num_nodes
    return {
        "num_subjects": len(reports),
        "median_load_ms": statistics.median(report.load_ms for report in reports),
        "median_first_run_ms": statistics.median(report.first_run_ms for report in reports),
        "max_peak_memory_mib": max(peaks_mib, default=None),
        "nodes_by_provider": dict(nodes) or None,
        "placement": dict(placement) or None,
    }


def describe(reports: Sequence[LoadReport]) -> str:
    """The same in one line for a terminal, without the operators; empty without any."""
    summary = summary_of(reports)
    if summary is None:
        return ""
    text = f"loading: {summary['median_load_ms']:.4g} ms, then a first run of {summary['median_first_run_ms']:.4g} ms"
    text += f" (medians of {summary['num_subjects']})"
    nodes = sorted((summary["nodes_by_provider"] or {}).items(), key=lambda item: -item[1])
    return text + ("; nodes: " + ", ".join(f"{name} {num_nodes}" for name, num_nodes in nodes) if nodes else "")
