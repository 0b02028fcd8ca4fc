"""How far the table's sums are from whole networks that were really measured.

Random architectures of a space are measured whole, by the same process and the same protocol as the blocks, interleaved
at random. Beside the sum stand the noise floor (the networks' own samples, one half against the other), the sum with
one fitted scale, the sum corrected by kind of block, what counting multiply-accumulates or parameters would have said,
and a table without error, because the networks are not known exactly either. Everything that is fitted is judged on
networks that took no part in the fit: each left out in turn, or, with `num_fit`, all but the first so many. The
correction is stored with these figures, and estimates use it from then on; unless the machine was so busy that the
networks do not even agree with themselves.

A device that is not here, such as a Mac with a bundle, is judged by the networks that it measured there.
"""

import dataclasses
import logging
from collections.abc import Sequence

import numpy
from sqlalchemy import Engine

from profilers.agreement import FloatArray, Predictor, judge_all, line_predictor, scale_predictor
from profilers.backends.registry import open_backend
from profilers.budgeted import measure_within
from profilers.campaign import run_campaign
from profilers.check_report import CheckReport
from profilers.correction import network_features
from profilers.correction_fit import WholeNetworks, fit_correction
from profilers.device import Device
from profilers.estimating import BlockLatencies
from profilers.finding_device import FoundDevice, find_device, how_to_measure
from profilers.latency_table import LatencyTable
from profilers.measurement import Measurement
from profilers.measuring import measure_space
from profilers.noise_floor import agreement_within_noise, noise_floor_percent
from profilers.protocol import Protocol
from profilers.subject import Subject
from search_space.arch import ArchConfig
from search_space.counts import count
from search_space.errors import SnapNASError, UsageError
from search_space.space import SearchSpace, contains, distinct_archs
from search_space.walk import block_specs

MAX_FAILED_SHARE = 0.1
"""Of the networks of a check that may fail; with more it would judge another space."""

logger = logging.getLogger(__name__)


def check_space(
    space: SearchSpace,
    device_name: str,
    engine: Engine,
    *,
    num_networks: int = 30,
    num_fit: int | None = None,
    budget_s: float | None = None,
    interpolate: bool = False,
    seed: int = 0,
    protocol: Protocol | None = None,
) -> CheckReport:
    """Measures what is missing of the blocks, then whole networks, compares, and stores the fitted correction.

    With a budget, blocks are measured for so many seconds, and those that are then still missing are guessed. With
    `interpolate` none are measured. A device that is not here measures nothing: the table has to hold its networks.

    Raises:
        UsageError: It holds fewer, or a device that is not here was given what only measuring obeys.
        SnapNASError: The device cannot run more than a tenth of the networks, or a block of so many.
    """
    table = LatencyTable(engine)
    found = find_device(device_name, table)
    is_guessing = interpolate or budget_s is not None
    if not found.is_here:
        given = {"--budget": budget_s is not None, "--max-rounds": protocol is not None, "--seed": seed != 0}
        refuse_for_absent(found.device, [option for option, is_given in given.items() if is_given])
        recorded = recorded_networks(space, found.device, table, num_wanted=num_networks)
        drawn = list(recorded)[:num_networks]
    else:
        if budget_s is not None:
            measure_within(space, found.device.name, engine, budget_s=budget_s, protocol=protocol)
        elif not interpolate:
            measure_space(space, found.device.name, engine, protocol=protocol)
        drawn = distinct_archs(space, num_networks, seed)
    archs = without_failed_blocks(
        drawn, table, found.device, num_wanted=len(drawn) - int(MAX_FAILED_SHARE * len(drawn))
    )
    if found.is_here:
        measured = measure_networks(archs, found.device.name, table, protocol=protocol)
    else:
        measured = {arch: recorded[arch] for arch in archs}
    archs, measurements = list(measured), list(measured.values())
    features, block_half_widths = network_features_of(archs, table, found.device, interpolate=is_guessing)
    specs = {spec for arch in archs for spec in block_specs(arch)}
    networks = WholeNetworks(
        features=features,
        block_half_widths=block_half_widths,
        measured_ms=numpy.array([measurement.median_ms for measurement in measurements]),
        space=space.name,
        num_guessed=len(specs) - len(table.coverage(specs, found.device).known),
    )
    report = _compare(archs, measurements, networks, found, num_fit=num_fit)
    if is_guessing:
        report = dataclasses.replace(report, num_blocks=len(specs))
    if report.is_quiet:
        table.set_correction(found.device, report.correction)
    return report


def refuse_for_absent(device: Device, options: Sequence[str]) -> None:
    """Refuses options that would do nothing, because the device is not here to be measured.

    Raises:
        UsageError: There is one.
    """
    if options:
        raise UsageError(
            f"{' and '.join(options)} was given for {device.name}, which is not here",
            allowed="nothing that chooses what is measured: its networks and blocks are those of the table",
            fix="--interpolate guesses the blocks that it did not measure" if "--budget" in options else "",
        )


def measure_networks(
    archs: Sequence[ArchConfig], device_name: str, table: LatencyTable, *, protocol: Protocol | None = None
) -> dict[ArchConfig, Measurement]:
    """Measures whole networks now, together, so that nothing but their sums is compared.

    A campaign that was killed goes on where it stopped; what an earlier one brought to its end is measured anew. A
    network that the device cannot run is left out, with a warning.

    Raises:
        SnapNASError: More than a tenth of them are.
    """
    backend = open_backend(device_name)
    subjects = [Subject.of_network(arch) for arch in archs]
    known = table.records(backend.device, subjects)
    table.forget(backend.device, [subject for subject, record in known.items() if record.is_settled])
    run_campaign(subjects, backend, table, description=f"measuring {len(archs)} networks", protocol=protocol)
    records = table.records(backend.device, subjects)
    failed = [record for record in records.values() if not record.has_latency]
    if failed:
        message = f"{device_name} could not run {len(failed)} of {len(archs)} networks: {failed[0].reason}"
        if len(failed) > MAX_FAILED_SHARE * len(archs):
            raise SnapNASError(message)
        logger.warning("%s", message)
    found = {arch: table.measurement(backend.device, subject) for arch, subject in zip(archs, subjects, strict=True)}
    return {arch: measurement for arch, measurement in found.items() if measurement is not None}


def recorded_networks(
    space: SearchSpace, device: Device, table: LatencyTable, *, num_wanted: int
) -> dict[ArchConfig, Measurement]:
    """The whole networks of the space that a device which is not here measured, in the order they came in.

    Raises:
        UsageError: There are fewer than wanted.
    """
    archs = [arch for arch, record in table.networks(device).items() if record.has_latency and contains(space, arch)]
    found = {arch: table.measurement(device, Subject.of_network(arch)) for arch in archs}
    repeated = {arch: known for arch, known in found.items() if known is not None and len(known.samples_ms) > 1}
    if len(repeated) < num_wanted:
        raise UsageError(
            f"{num_wanted} networks were asked for, of {device.name}, which is not here",
            allowed=f"{len(repeated)}: as many of {space.name} as it measured more than once",
            fix=f"let it measure more: profilers.bundle or profilers.collect with --networks {num_wanted}",
        )
    return repeated


def without_failed_blocks(
    archs: Sequence[ArchConfig], table: LatencyTable, device: Device, *, num_wanted: int
) -> list[ArchConfig]:
    """The networks that have a sum: a block that the device could not run has no latency, and is never guessed.

    Those that have such a block are left out, with a warning.

    Raises:
        SnapNASError: Fewer than wanted are left.
    """
    specs = dict.fromkeys(spec for arch in archs for spec in block_specs(arch))
    failed = BlockLatencies.read(specs, table, device).failed
    left = [arch for arch in archs if failed.keys().isdisjoint(block_specs(arch))]
    if len(left) < len(archs):
        reason = next(iter(failed.values())).reason
        message = f"{len(archs) - len(left)} of {len(archs)} networks have a block that {device.name} could not run"
        if len(left) < num_wanted:
            raise SnapNASError(
                f"{message}: {reason}",
                allowed=f"at least {num_wanted} without one",
                fix=how_to_measure(device, again=True),
            )
        logger.warning("%s, and are left out: %s", message, reason)
    return left


def network_features_of(
    archs: Sequence[ArchConfig], table: LatencyTable, source: Device, *, interpolate: bool = False
) -> tuple[FloatArray, FloatArray]:
    """What the blocks of `source` say of networks: features and relative half widths, as `WholeNetworks` has them.

    Raises:
        MissingLatencyError: The table of `source` lacks a block of a network.
    """
    distinct = {spec for arch in archs for spec in block_specs(arch)}
    blocks = BlockLatencies.read(distinct, table, source, interpolate=interpolate)
    features = numpy.stack([network_features(blocks.medians(arch)) for arch in archs])
    return features, numpy.array([blocks.own_half_width(arch) for arch in archs])


def count_predictors(archs: Sequence[ArchConfig], measured_ms: FloatArray) -> dict[str, Predictor]:
    """What counting multiply-accumulates or parameters would have said: the peers of everything that is measured."""
    counts = [count(arch) for arch in archs]
    macs = numpy.array([float(network.macs) for network in counts])
    params = numpy.array([float(network.num_params) for network in counts])
    return {
        "line over macs": line_predictor(macs, measured_ms),
        "line over parameters": line_predictor(params, measured_ms),
    }


def _compare(
    archs: Sequence[ArchConfig],
    measurements: Sequence[Measurement],
    networks: WholeNetworks,
    found: FoundDevice,
    *,
    num_fit: int | None,
) -> CheckReport:
    measured_ms, sums_ms = networks.measured_ms, networks.sums_ms
    one_scale = {"sum with one fitted scale": scale_predictor(sums_ms, measured_ms)}
    counting = count_predictors(archs, measured_ms)
    correction = fit_correction(networks, num_fit=num_fit)
    return CheckReport(
        device=found.device,
        is_here=found.is_here,
        space=networks.space,
        measured_ms=tuple(measured_ms.tolist()),
        estimated_ms=tuple(sums_ms.tolist()),
        num_stable=sum(measurement.is_stable for measurement in measurements),
        noise_floor_percent=noise_floor_percent(measurements),
        agreements=(
            correction.uncorrected,
            *judge_all(one_scale, measured_ms, num_fit=num_fit),
            dataclasses.replace(correction.judged, name="sum corrected by kind of block"),
            *judge_all(counting, measured_ms, num_fit=num_fit),
            agreement_within_noise(measurements[num_fit or 0 :]),
        ),
        correction=correction,
    )
