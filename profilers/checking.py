"""How far the table's sums are from whole networks that were really measured.

Random architectures of a space are measured whole, by the same process and the same protocol as the blocks, interleaved
at random. Beside the sum stand the noise floor (the networks' own samples, one half against the other), the sum with
one fitted scale, and what counting multiply-accumulates or parameters would have said; everything that is fitted is
fitted on the other networks, leave-one-out. The scale is stored with these numbers, and estimates use it from then on;
unless the machine was so busy that the networks do not even agree with themselves.
"""

import datetime
import statistics
from collections.abc import Sequence

from sqlalchemy import Engine

from profilers.agreement import agreement, leave_one_out_line, leave_one_out_scale
from profilers.backends.registry import open_backend
from profilers.campaign import Protocol, run_campaign
from profilers.check_report import CheckReport, noise_floor_percent
from profilers.device import Device
from profilers.estimating import estimate
from profilers.latency_table import LatencyTable
from profilers.measurement import Measurement
from profilers.measuring import measure_space
from profilers.scale_card import ScaleCard
from profilers.subject import Subject
from search_space.arch import ArchConfig
from search_space.counts import count
from search_space.errors import SnapNASError
from search_space.space import SearchSpace, random_arch


def check_space(
    space: SearchSpace,
    device_name: str,
    engine: Engine,
    *,
    num_networks: int = 30,
    seed: int = 0,
    protocol: Protocol | None = None,
) -> CheckReport:
    """Measures what is missing of the blocks, then whole networks, compares, and stores the fitted scale."""
    measure_space(space, device_name, engine, protocol=protocol)
    archs = _distinct_archs(space, num_networks, seed)
    backend, table = open_backend(device_name), LatencyTable(engine)
    subjects = [Subject.of_network(arch) for arch in archs]
    table.forget(backend.device, subjects)  # measured now, together, so that nothing but the sum is compared
    run_campaign(subjects, backend, table, description=f"measuring {len(archs)} networks", protocol=protocol)
    measurements = [_measured(table, backend.device, subject) for subject in subjects]
    report = _compare(archs, measurements, table, backend.device, space_name=space.name)
    if report.is_quiet:
        table.set_scale_card(backend.device, report.card)
    return report


def _distinct_archs(space: SearchSpace, num_networks: int, seed: int) -> list[ArchConfig]:
    """The first so many different architectures of consecutive seeds; a small space may hold fewer."""
    found: dict[str, ArchConfig] = {}
    for offset in range(10 * num_networks):
        arch = random_arch(space, seed + offset)
        found.setdefault(arch.arch_id, arch)
        if len(found) == num_networks:
            break
    return list(found.values())


def _measured(table: LatencyTable, device: Device, subject: Subject) -> Measurement:
    measurement = table.measurement(device, subject)
    if measurement is None:
        record = table.records(device, [subject])[subject]
        raise SnapNASError(f"{device.name} could not run a whole network: {record.reason}")
    return measurement


def _compare(
    archs: Sequence[ArchConfig],
    measurements: Sequence[Measurement],
    table: LatencyTable,
    device: Device,
    *,
    space_name: str,
) -> CheckReport:
    measured_ms = [measurement.median_ms for measurement in measurements]
    estimates = [estimate(arch, table, device) for arch in archs]
    estimated_ms = [network.latency_ms / (network.scale or 1.0) for network in estimates]
    counts = [count(arch) for arch in archs]
    macs_line_ms = leave_one_out_line([network.macs for network in counts], measured_ms)
    params_line_ms = leave_one_out_line([network.num_params for network in counts], measured_ms)
    scaled_ms = leave_one_out_scale(estimated_ms, measured_ms)
    agreements = (
        agreement("sum of the blocks", estimated_ms, measured_ms),
        agreement("sum with one fitted scale, leave-one-out", scaled_ms, measured_ms),
        agreement("line over macs, leave-one-out", macs_line_ms, measured_ms),
        agreement("line over parameters, leave-one-out", params_line_ms, measured_ms),
    )
    card = ScaleCard(
        scale=statistics.median(measured / plain for measured, plain in zip(measured_ms, estimated_ms, strict=True)),
        residual=statistics.stdev(scaled / real - 1 for scaled, real in zip(scaled_ms, measured_ms, strict=True)),
        num_networks=len(archs),
        space=space_name,
        mape_raw_percent=agreements[0].mape_percent,
        mape_scaled_percent=agreements[1].mape_percent,
        fitted_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    return CheckReport(
        device=device,
        space=space_name,
        measured_ms=tuple(measured_ms),
        estimated_ms=tuple(estimated_ms),
        num_stable=sum(measurement.is_stable for measurement in measurements),
        noise_floor_percent=noise_floor_percent(measurements),
        agreements=agreements,
        card=card,
    )
