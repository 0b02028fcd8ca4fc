"""What `profilers.estimate` prints: the blocks by kind, one run of the UNet, and a whole picture; as text or JSON."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from profilers.device import Device
from profilers.estimating import LatencyEstimate
from profilers.pipeline_cost import PipelineCost
from search_space.arch import ArchConfig
from search_space.specs import spec_key


@dataclass(frozen=True, kw_only=True)
class KindShare:
    """All blocks of one kind."""

    kind: str
    """Kind of their specs."""
    num_blocks: int
    """How many there are."""
    num_interpolated: int
    """How many of them nobody measured."""
    latency_ms: float
    """All of them."""
    share: float
    """Of the network, 0 to 1."""


def kind_shares(found: LatencyEstimate) -> list[KindShare]:
    """The blocks by kind, the most expensive kind first."""
    shares = []
    for kind in dict.fromkeys(block.kind for block in found.blocks):
        blocks = [block for block in found.blocks if block.kind == kind]
        latency_ms = sum(block.latency_ms for block in blocks)
        shares.append(
            KindShare(
                kind=kind,
                num_blocks=len(blocks),
                num_interpolated=sum(block.is_interpolated for block in blocks),
                latency_ms=latency_ms,
                share=latency_ms / found.latency_ms,
            )
        )
    return sorted(shares, key=lambda share: -share.latency_ms)


def print_report(arch: ArchConfig, device: Device, found: LatencyEstimate, cost: PipelineCost) -> None:
    """Two tables on stdout."""
    console = Console(width=None if Console().is_terminal else 110, highlight=False, markup=False)
    console.print(_kinds_table(found))
    labels = f" ({'; '.join(found.labels)})" if found.labels else ""
    console.print(
        f"architecture {arch.arch_id} on {device.name} ({device.device_id}): {found.latency_ms:.2f} ms a run, "
        f"95 % interval {found.low_ms:.2f} to {found.high_ms:.2f} ms{labels}"
    )
    without = (
        "plain sum of blocks; python -m profilers.check --space SPACE says how far such sums are off for networks "
        "of a space, and corrects them from then on"
    )
    console.print(found.correction.describe() if found.correction else without, end="\n\n")
    console.print(_parts_table(cost))
    missing = f"; without {' and '.join(cost.missing)}, whose time was not given" if cost.missing else ""
    console.print(
        f"a picture: {cost.latency_ms:.1f} ms, 95 % interval {cost.low_ms:.1f} to {cost.high_ms:.1f} ms{missing}"
    )


def _kinds_table(found: LatencyEstimate) -> Table:
    table = _table("kind", "blocks", "interpolated", "ms", "share")
    for share in kind_shares(found):
        table.add_row(
            share.kind,
            str(share.num_blocks),
            str(share.num_interpolated or ""),
            f"{share.latency_ms:.3f}",
            f"{share.share:.1%}",
        )
    return table


def _parts_table(cost: PipelineCost) -> Table:
    table = _table("part", "runs", "ms a run", "ms", "from")
    for part in cost.parts:
        table.add_row(part.name, str(part.num_runs), f"{part.run_ms:.2f}", f"{part.latency_ms:.1f}", part.source)
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(first)
    for title in others:
        table.add_column(title, justify="right")
    return table


def json_document(arch: ArchConfig, device: Device, found: LatencyEstimate, cost: PipelineCost) -> dict[str, Any]:
    """The same for programs, every block included."""
    return {
        "arch_id": arch.arch_id,
        "device": device.name,
        "device_id": device.device_id,
        "latency_ms": found.latency_ms,
        "low_ms": found.low_ms,
        "high_ms": found.high_ms,
        "labels": list(found.labels),
        "correction": dataclasses.asdict(found.correction) if found.correction else None,
        "interpolated": [
            {
                "spec": spec_key(spec),
                **dataclasses.asdict(guess),
                "neighbours": [spec_key(neighbour) for neighbour in guess.neighbours],
            }
            for spec, guess in found.interpolated.items()
        ],
        "kinds": [dataclasses.asdict(share) for share in kind_shares(found)],
        "blocks": [dataclasses.asdict(block) for block in found.blocks],
        "picture": {
            "latency_ms": cost.latency_ms,
            "low_ms": cost.low_ms,
            "high_ms": cost.high_ms,
            "parts": [dataclasses.asdict(part) for part in cost.parts],
            "missing": list(cost.missing),
        },
    }
