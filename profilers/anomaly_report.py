"""What `profilers.anomalies` found, as a table for people and as a document for programs."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from profilers.anomalies import Anomaly, MeasuredBlock
from profilers.coverage_report import DeviceCoverage
from profilers.device import Device
from profilers.modes import MIN_SAMPLES
from search_space.specs import BlockSpec, spec_key

if TYPE_CHECKING:
    from rich.table import Table

MAX_FINDINGS_OF_A_KIND = 8


def anomaly_table(anomalies: Sequence[Anomaly], device: Device) -> "Table":
    """The device's largest findings of each kind, each with its rows; of an unequal group the fastest and slowest."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("finding", no_wrap=True)
    table.add_column("difference", justify="right", no_wrap=True)
    table.add_column("what", max_width=32)
    table.add_column("estimate ms" if device.is_estimate else "ms", justify="right", no_wrap=True)
    table.add_column("block")
    num_shown: Counter[str] = Counter()
    for anomaly in anomalies:
        num_shown[anomaly.kind] += 1
        if num_shown[anomaly.kind] <= MAX_FINDINGS_OF_A_KIND:
            rows = _shown_blocks(anomaly)
            cells = (anomaly.kind, f"{anomaly.ratio - 1:.0%}", anomaly.explanation)
            table.add_row(*cells, f"{rows[0].median_ms:.4g}", _short(rows[0].spec))
            for row in rows[1:]:
                table.add_row("", "", "", f"{row.median_ms:.4g}", _change(rows[0].spec, row.spec))
            table.add_section()
    return table


def _shown_blocks(anomaly: Anomaly) -> tuple[MeasuredBlock, ...]:
    return anomaly.blocks if len(anomaly.blocks) <= 2 else (anomaly.blocks[0], anomaly.blocks[-1])


def _short(spec: BlockSpec) -> str:
    """The spec in as few words as leave it distinct: what is off or zero is left out."""
    fields = dataclasses.asdict(spec).items()
    return f"{spec.kind} {' '.join(f'{name}={value}' for name, value in fields if value not in (0, False, 'none'))}"


def _change(first: BlockSpec, second: BlockSpec) -> str:
    fields, others = dataclasses.asdict(first), dataclasses.asdict(second)
    return f"the same, but {' '.join(f'{name}={others[name]}' for name in fields if fields[name] != others[name])}"


def anomaly_summary(anomalies: Sequence[Anomaly], blocks: Sequence[MeasuredBlock], coverage: DeviceCoverage) -> str:
    """One line: how many findings of each kind among how many rows, and what could not be looked for."""
    device = coverage.device
    where = f"{coverage.space} on {device.name} ({device.device_id}{', an estimate' if device.is_estimate else ''})"
    if not blocks:
        elsewhere = [version for version in coverage.other_versions if version.num_finished]
        others = [f"another version, {each.device.device_id}, holds {each.num_finished}" for each in elsewhere]
        return "; ".join([f"no rows of {where}", *others])
    counts = Counter(anomaly.kind for anomaly in anomalies)
    found = ", ".join(f"{number} {kind}" for kind, number in counts.items()) or "nothing strange"
    hidden = sum(max(number - MAX_FINDINGS_OF_A_KIND, 0) for number in counts.values())
    more = f"; {hidden} more with --json" if hidden else ""
    num_short = _num_too_short(blocks, device)
    short = f"; {num_short} rows have too few samples to show two modes" if num_short else ""
    return f"{len(blocks)} rows of {where}: {found}{more}{short}"


def _num_too_short(blocks: Sequence[MeasuredBlock], device: Device) -> int:
    """Rows with too few samples to tell two modes from one; a formula has one, whatever their number."""
    return 0 if device.is_estimate else sum(len(block.samples_ms) < MIN_SAMPLES for block in blocks)


def anomaly_document(
    anomalies: Sequence[Anomaly], blocks: Sequence[MeasuredBlock], coverage: DeviceCoverage
) -> dict[str, Any]:
    """Every finding with the keys of all its rows."""
    return {
        "space": coverage.space,
        "device": dataclasses.asdict(coverage.device),
        "device_id": coverage.device.device_id,
        "num_rows": len(blocks),
        "num_too_short_for_two_modes": _num_too_short(blocks, coverage.device),
        "anomalies": [
            {
                "kind": anomaly.kind,
                "ratio": anomaly.ratio,
                "explanation": anomaly.explanation,
                "rows": [_row_document(block) for block in anomaly.blocks],
            }
            for anomaly in anomalies
        ],
    }


def _row_document(block: MeasuredBlock) -> dict[str, Any]:
    return {
        "spec": spec_key(block.spec),
        "median_ms": block.median_ms,
        "low_ms": block.low_ms,
        "high_ms": block.high_ms,
        "num_samples": len(block.samples_ms),
    }
