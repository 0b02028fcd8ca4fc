"""How much of a search space a device's table holds, block by block, and which of it is of another version.

A device is everything that keys a row: after an update of the runtime, or on another machine, the same name means
another device, and the rows of before count for nothing. They stay in the table and never mix with the new ones; the
report names the versions there are, and calls a block that only another one of them holds *stale*.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from profilers.backends.registry import open_backend
from profilers.device import Device
from profilers.finding_device import FoundDevice, is_here, versions_in_table
from profilers.latency_table import LatencyTable
from profilers.load_report import LoadReport, describe, summary_of
from profilers.subject import Subject
from search_space.errors import UsageError
from search_space.specs import BlockSpec, spec_key

if TYPE_CHECKING:
    from rich.table import Table

Holding = Literal["present", "unstable", "failed", "does_not_fit", "stale", "missing"]
HOLDINGS: tuple[Holding, ...] = get_args(Holding)

_HOLDING_OF_STATUS: dict[str, Holding] = {
    "measured": "present",
    "unstable": "unstable",
    "failed": "failed",
    "does_not_fit": "does_not_fit",
}


@dataclass(frozen=True, kw_only=True)
class OtherVersion:
    """A device of the same name that is not the same device."""

    device: Device
    """Its record."""
    differences: tuple[str, ...]
    """The fields in which the two differ, each with both values."""
    num_finished: int
    """Blocks of the space that have a latency there."""


@dataclass(frozen=True, kw_only=True)
class DeviceCoverage:
    """How much of a space one device's table holds."""

    space: str
    """The search space."""
    device: Device
    """The device as it is now, or a version of it that cannot be measured here."""
    is_here: bool
    """Whether this machine can measure it."""
    holdings: Mapping[BlockSpec, Holding]
    """Every block of the space and what is known of it: present is known to +-1 %, unstable is known less well,
    stale is held by another version only."""
    other_versions: tuple[OtherVersion, ...]
    """Devices of the same name whose rows never count here."""
    loading: tuple[LoadReport, ...] = ()
    """What loading the blocks said, of those that were loaded where it can be told; a phone's page does not tell."""

    def specs(self, holding: Holding) -> tuple[BlockSpec, ...]:
        return tuple(spec for spec, value in self.holdings.items() if value == holding)


def device_coverages(
    specs: Sequence[BlockSpec], table: LatencyTable, *, space_name: str, device_name: str = ""
) -> tuple[DeviceCoverage, ...]:
    """One coverage for every device that is asked for.

    Args:
        specs: The blocks of the space.
        table: The latency table.
        space_name: How the space is called.
        device_name: Only this device, or this version of one, by its id; by default every one that the table knows.

    Raises:
        UsageError: Neither this machine nor the table knows the device.
    """
    known = table.devices()
    names = [device_name] if device_name else sorted({device.name for device in known})
    return tuple(coverage for name in names for coverage in _coverages_of_name(name, specs, table, known, space_name))


def _coverages_of_name(
    name: str, specs: Sequence[BlockSpec], table: LatencyTable, known: Sequence[Device], space_name: str
) -> list[DeviceCoverage]:
    """One for the device as it is here now; where it is not here, one for each version that the table holds."""
    try:
        found = [FoundDevice(device=open_backend(name).device, is_here=True)]
    except UsageError:  # an id, or measured by somebody else, or its runtime is gone
        versions = versions_in_table(name, table)
        if not versions:
            raise
        found = [FoundDevice(device=version, is_here=is_here(version)) for version in versions]
    return [
        _coverage(
            each.device,
            [other for other in known if other.name == each.device.name and other != each.device],
            specs,
            table,
            space_name=space_name,
            is_here=each.is_here,
        )
        for each in found
    ]


def _coverage(
    device: Device,
    others: Sequence[Device],
    specs: Sequence[BlockSpec],
    table: LatencyTable,
    *,
    space_name: str,
    is_here: bool,
) -> DeviceCoverage:
    own = _finished(specs, table, device)
    of_others = {other: table.coverage(specs, other).known for other in others}
    elsewhere = {spec for known in of_others.values() for spec in known}
    holdings: dict[BlockSpec, Holding] = {
        spec: own.get(spec, "stale" if spec in elsewhere else "missing") for spec in specs
    }
    return DeviceCoverage(
        space=space_name,
        device=device,
        is_here=is_here,
        holdings=holdings,
        other_versions=tuple(
            OtherVersion(device=other, differences=_differences(device, other), num_finished=len(known))
            for other, known in of_others.items()
        ),
        loading=tuple(table.load_reports(device, map(Subject.of_block, specs)).values()),
    )


def _finished(specs: Sequence[BlockSpec], table: LatencyTable, device: Device) -> dict[BlockSpec, Holding]:
    subjects = {Subject.of_block(spec): spec for spec in specs}
    return {
        subjects[subject]: _HOLDING_OF_STATUS[record.status]
        for subject, record in table.records(device, subjects).items()
        if record.status != "sampling"
    }


def _differences(device: Device, other: Device) -> tuple[str, ...]:
    now, then = dataclasses.asdict(device), dataclasses.asdict(other)
    return tuple(f"{name} {then[name]}, not {now[name]}" for name in now if then[name] != now[name])


def coverage_table(coverage: DeviceCoverage) -> "Table":
    """The coverage for a terminal: a line for each kind of block, a column for each holding."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("kind", justify="left")
    for holding in HOLDINGS:
        table.add_column(holding.replace("_", " "), justify="right")
    counts = Counter((spec.kind, holding) for spec, holding in coverage.holdings.items())
    for kind in sorted({spec.kind for spec in coverage.holdings}):
        table.add_row(kind, *(str(counts[kind, holding] or "-") for holding in HOLDINGS))
    totals = Counter(coverage.holdings.values())
    table.add_section()
    table.add_row("all", *(str(totals[holding] or "-") for holding in HOLDINGS), style="bold")
    return table


def coverage_lines(coverage: DeviceCoverage) -> list[str]:
    """What stands around the table: which device it is, how it loads, and the versions that do not count."""
    device = coverage.device
    where = "" if coverage.is_here else ", not on this machine"
    lines = [f"{coverage.space} on {device.name} ({device.device_id}, {device.runtime}, {device.hardware}{where})"]
    if coverage.loading:
        lines.append(describe(coverage.loading))
    for version in coverage.other_versions:
        lines.append(
            f"another version, {version.device.device_id}, holds {version.num_finished} of the blocks"
            f" ({'; '.join(version.differences)}); its rows never mix with these"
        )
    if coverage.is_here and (coverage.specs("missing") or coverage.specs("stale")):
        lines.append(f"fix: python -m profilers.measure --space {coverage.space} --device {device.name}")
    return lines


def coverage_document(coverage: DeviceCoverage) -> dict[str, Any]:
    """The coverage for programs, with the keys of every block that is not present."""
    return {
        "space": coverage.space,
        "device": dataclasses.asdict(coverage.device),
        "device_id": coverage.device.device_id,
        "is_here": coverage.is_here,
        "num_specs": len(coverage.holdings),
        "counts": {holding: len(coverage.specs(holding)) for holding in HOLDINGS},
        "specs": {holding: list(map(spec_key, coverage.specs(holding))) for holding in HOLDINGS[1:]},
        "other_versions": [
            {
                "device_id": version.device.device_id,
                "device": dataclasses.asdict(version.device),
                "differences": list(version.differences),
                "num_finished": version.num_finished,
            }
            for version in coverage.other_versions
        ],
        "loading": summary_of(coverage.loading),
    }
