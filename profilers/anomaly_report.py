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
    table.add_column("finding", no_wrap=True)
    table.add_column("difference", justify="right", no_wrap=True)
    table.add_column("what", max_width=32)
    table.add_column("ms", justify="right", no_wrap=True)
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
