"""`python -m profilers.table`: looks at the latency table, writes it to a file, reads a colleague's.

python -m profilers.table coverage  --space tiny            what is measured, and what is missing
python -m profilers.table anomalies --space tiny            rows that ask for a second look
python -m profilers.table export    --device D -o mine.parquet
python -m profilers.table import    colleague.parquet
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, assert_never

import tyro

from profilers.defaults import DEFAULT_DEVICE, DEFAULT_STORAGE
from search_space import command_line

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, kw_only=True)
class CoverageOptions:
    """Say which blocks of a space are measured, unstable, failed, stale or missing."""

    space: str = "tiny"
    """Search space: tiny, mid or snapgen."""
    device: str = ""
    """Only this device, or the version of one with this id; by default every one that the table knows."""
    storage: str = DEFAULT_STORAGE
    """Database URL: sqlite:///file.db or postgresql://user:password@host/database."""
    json: bool = False
    """Print one JSON line on stdout, with the key of every block that is not present."""


@dataclass(frozen=True, kw_only=True)
class AnomaliesOptions:
    """List rows that contradict each other or themselves."""

    space: str = "tiny"
    """Search space: tiny, mid or snapgen."""
    device: str = DEFAULT_DEVICE
    """The device whose rows are looked at, or the id of another version of it."""
    storage: str = DEFAULT_STORAGE
    """Database URL: sqlite:///file.db or postgresql://user:password@host/database."""
    json: bool = False
    """Print one JSON line on stdout, with every finding."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Write every row and sample of a device to a file."""

    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The file; its ending, .parquet or .csv, decides the format."""
    device: str = DEFAULT_DEVICE
    """The device, with every version of it that the table holds, or the id of one version."""
    storage: str = DEFAULT_STORAGE
    """Database URL: sqlite:///file.db or postgresql://user:password@host/database."""
    json: bool = False
    """Print one JSON line on stdout."""


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Add the rows of a file to the table; nothing in the file is trusted."""

    file: Annotated[Path, tyro.conf.Positional]
    """What `export` wrote, on this machine or another."""
    replace: bool = False
    """Drop rows that are here with other samples, in favour of the file's."""
    storage: str = DEFAULT_STORAGE
    """Database URL: sqlite:///file.db or postgresql://user:password@host/database."""
    json: bool = False
    """Print one JSON line on stdout."""


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """Looks at the latency table, writes it to a file, reads a colleague's."""

    task: tyro.conf.OmitSubcommandPrefixes[
        tyro.conf.OmitArgPrefixes[
            Annotated[CoverageOptions, tyro.conf.subcommand("coverage")]
            | Annotated[AnomaliesOptions, tyro.conf.subcommand("anomalies")]
            | Annotated[ExportOptions, tyro.conf.subcommand("export")]
            | Annotated[ImportOptions, tyro.conf.subcommand("import")]
        ]
    ]
    """What to do."""


def table(options: TableOptions) -> None:
    """The command; what it needs is imported when it runs, so that `--help` comes at once."""
    match options.task:
        case CoverageOptions() as task:
            _coverage(task)
        case AnomaliesOptions() as task:
            _anomalies(task)
        case ExportOptions() as task:
            _export(task)
        case ImportOptions() as task:
            _import(task)
        case _:
            assert_never(options.task)


def _coverage(options: CoverageOptions) -> None:
    from profilers.coverage_report import coverage_document, coverage_lines, coverage_table, device_coverages
    from profilers.latency_table import LatencyTable
    from profilers.storage import open_engine
    from search_space.space import reachable_specs
    from search_space.spaces import search_space

    latency_table = LatencyTable(open_engine(options.storage, read_only=True))
    specs = reachable_specs(search_space(options.space))
    coverages = device_coverages(specs, latency_table, space_name=options.space, device_name=options.device)
    console = _stderr_console()
    for coverage in coverages:
        first_line, *other_lines = coverage_lines(coverage)
        print(first_line, file=sys.stderr)
        console.print(coverage_table(coverage))
        for line in other_lines:
            print(line, file=sys.stderr)
    if not coverages:
        print("the table knows no device yet; python -m profilers.measure measures one", file=sys.stderr)
    if options.json:
        command_line.print_json([coverage_document(coverage) for coverage in coverages])


def _anomalies(options: AnomaliesOptions) -> None:
    from profilers.anomalies import find_anomalies, measured_blocks
    from profilers.anomaly_report import anomaly_document, anomaly_summary, anomaly_table
    from profilers.coverage_report import device_coverages
    from profilers.latency_table import LatencyTable
    from profilers.storage import open_engine
    from search_space.space import reachable_specs
    from search_space.spaces import search_space

    latency_table = LatencyTable(open_engine(options.storage, read_only=True))
    specs = reachable_specs(search_space(options.space))
    documents = []
    for coverage in device_coverages(specs, latency_table, space_name=options.space, device_name=options.device):
        blocks = measured_blocks(specs, latency_table, coverage.device)
        anomalies = find_anomalies(blocks)
        if anomalies:
            _stderr_console().print(anomaly_table(anomalies, coverage.device))
        print(anomaly_summary(anomalies, blocks, coverage), file=sys.stderr)
        documents.append(anomaly_document(anomalies, blocks, coverage))
    if options.json:
        command_line.print_json(documents)


def _export(options: ExportOptions) -> None:
    from profilers.exchange import export_device
    from profilers.exchange_files import write_export
    from profilers.storage import open_engine

    export = export_device(open_engine(options.storage, read_only=True), options.device)
    write_export(export, options.out)
    size_bytes = options.out.stat().st_size
    counts = f"{len(export.rows)} rows with {len(export.samples)} samples of {options.device}"
    print(f"{options.out}: {counts}, {size_bytes / 1e6:.2f} MB", file=sys.stderr)
    if options.json:
        command_line.print_json(
            {
                "file": str(options.out),
                "device_ids": [line.device_id for line in export.devices],
                "num_rows": len(export.rows),
                "num_samples": len(export.samples),
                "size_bytes": size_bytes,
            }
        )


def _import(options: ImportOptions) -> None:
    from profilers.exchange import import_table
    from profilers.exchange_files import read_export
    from profilers.storage import open_engine

    export = read_export(options.file)
    reports = import_table(open_engine(options.storage), export, replace=options.replace)
    for report in reports:
        print(
            f"{report.device.name} ({report.device.device_id}, {report.device.runtime}, {report.device.hardware}):"
            f" {report.num_added} rows added, {report.num_known} known, {report.num_replaced} replaced",
            file=sys.stderr,
        )
    if options.json:
        command_line.print_json(
            [
                {
                    "device": report.device.name,
                    "device_id": report.device.device_id,
                    "num_added": report.num_added,
                    "num_known": report.num_known,
                    "num_replaced": report.num_replaced,
                }
                for report in reports
            ]
        )


def _stderr_console() -> "Console":
    from rich.console import Console

    return Console(stderr=True, width=None if Console(stderr=True).is_terminal else 120, highlight=False, markup=False)


if __name__ == "__main__":
    command_line.run(table, TableOptions, prog="profilers.table")
