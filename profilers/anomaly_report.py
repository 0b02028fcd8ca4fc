"""What `profilers.anomalies` found, as a table for people and as a document for programs."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from profilers.anomalies import Anomaly, MeasuredBlock
from profilers.device import Device
from search_space.specs import BlockSpec, spec_key

if TYPE_CHECKING:
    from rich.table import Table

MAX_FINDINGS_OF_A_KIND = 8


def anomaly_table(anomalies: Sequence[Anomaly]) -> "Table":
    """The largest findings of each kind, each with its rows; of an unequal group the fastest and the slowest."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("finding", "difference", "what"):
        table.add_column(title, justify="left" if title != "difference" else "right")
    table.add_column("ms", justify="right", no_wrap=True)
    table.add_column("block", ratio=1)
    num_shown: Counter[str] = Counter()
    for anomaly in anomalies:
        num_shown[anomaly.kind] += 1
        if num_shown[anomaly.kind] <= MAX_FINDINGS_OF_A_KIND:
            rows = _shown_blocks(anomaly)
            cells = (anomaly.kind, f"{anomaly.ratio - 1:.0%}", anomaly.explanation)
            for row, head in zip(rows, [cells, *[("", "", "")] * (len(rows) - 1)], strict=True):
                table.add_row(*head, f"{row.median_ms:.4g}", _short(row.spec))
            table.add_section()
    return table


def _shown_blocks(anomaly: Anomaly) -> tuple[MeasuredBlock, ...]:
    return anomaly.blocks if len(anomaly.blocks) <= 2 else (anomaly.blocks[0], anomaly.blocks[-1])


def _short(spec: BlockSpec) -> str:
    """The spec in as few words as leave it distinct: what is off or zero is left out."""
    fields = ((name, value) for name, value in dataclasses.asdict(spec).items() if value not in (0, False, "none"))
    return f"{spec.kind} {' '.join(name if value is True else f'{name}={value}' for name, value in fields)}"


def anomaly_summary(
    anomalies: Sequence[Anomaly], blocks: Sequence[MeasuredBlock], *, space: str, device: Device
) -> str:
    """One line: how many findings of each kind among how many rows."""
    counts = Counter(anomaly.kind for anomaly in anomalies)
    found = ", ".join(f"{number} {kind}" for kind, number in counts.items()) or "nothing strange"
    hidden = sum(max(number - MAX_FINDINGS_OF_A_KIND, 0) for number in counts.values())
    more = f"; {hidden} more with --json" if hidden else ""
    return f"{len(blocks)} rows of {space} on {device.name} ({device.device_id}): {found}{more}"


def anomaly_document(
    anomalies: Sequence[Anomaly], blocks: Sequence[MeasuredBlock], *, space: str, device: Device
) -> dict[str, Any]:
    """Every finding with the keys of all its rows."""
    return {
        "space": space,
        "device": dataclasses.asdict(device),
        "device_id": device.device_id,
        "num_rows": len(blocks),
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
