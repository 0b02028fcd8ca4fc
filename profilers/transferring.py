"""A new device from the table of another one and a few whole networks, instead of a table of its own.

Two configurations disagree about kinds of block (one likes separable convolutions, the other attention) more than about
blocks of one kind. So the blocks of the source keep their medians, each kind gets a scale of the new device, and ten
measured networks fix the scales: the same fit as a correction, only that the sums are another device's.

The ten are chosen to differ as much as they can in what they spend their time on (D-optimal: greedily, the candidate
that adds most to the determinant of what is known), among two hundred random architectures. Being extreme, they are
harder to predict than usual ones, so the error of leaving each out in turn is more than will be met; `num_validate`
measures usual ones beside them.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy
from sqlalchemy import Engine

from profilers.agreement import Agreement, FloatArray, agreement_table, judge_all, scale_predictor
from profilers.checking import (
    count_predictors,
    measure_networks,
    network_features_of,
    recorded_networks,
    refuse_for_absent,
    without_failed_blocks,
)
from profilers.correction import Correction
from profilers.correction_fit import WholeNetworks, fit_correction
from profilers.device import Device
from profilers.environment import provenance
from profilers.finding_device import find_device
from profilers.latency_table import LatencyTable
from profilers.noise_floor import TOO_BUSY, agreement_within_noise, is_quiet, noise_floor_percent
from profilers.protocol import Protocol
from search_space.errors import UsageError
from search_space.space import SearchSpace, distinct_archs

NUM_CANDIDATES = 200


@dataclass(frozen=True, kw_only=True)
class TransferReport:
    """One transfer with what it is worth."""

    source: Device
    """Whose blocks are used."""
    target: Device
    """Whose networks were measured."""
    is_here: bool
    """Whether they were measured now; else the table held them."""
    correction: Correction
    """The scales, with their validation card."""
    noise_floor_percent: float
    """How far two halves of the same network's samples are apart, mean over the networks."""
    agreements: tuple[Agreement, ...]
    """The source's sums as they are, with one scale, with one for each kind of block, and what counting would say."""

    @property
    def is_quiet(self) -> bool:
        """Whether the transfer is believed and stored."""
        return is_quiet(self.noise_floor_percent)


def transfer_space(
    space: SearchSpace,
    source_name: str,
    target_name: str,
    engine: Engine,
    *,
    num_networks: int = 10,
    num_validate: int = 0,
    seed: int = 0,
    protocol: Protocol | None = None,
) -> TransferReport:
    """Measures a few networks on the target, fits the source's blocks to them, and stores the result.

    Neither need be here: the source's rows may have come from a phone or from a colleague, and so may the networks of
    the target, among which the most different ones are taken then.

    Raises:
        MissingLatencyError: The source's table lacks a block of the space.
        SnapNASError: Too few networks are without a block that the source could not run.
        UsageError: Both are one device, or the target is not here and the table holds too few of its networks, or a
            seed was given for them.
    """
    table = LatencyTable(engine)
    source, target = find_device(source_name, table).device, find_device(target_name, table)
    if source == target.device:
        raise UsageError(
            f"{source_name} and {target_name} were given, which are one device",
            allowed="two different devices",
            fix=f"python -m profilers.check --device {source_name} corrects a device by its own networks",
        )
    if target.is_here:
        drawn = distinct_archs(space, num_validate + NUM_CANDIDATES, seed)
        usable = without_failed_blocks(drawn, table, source, num_wanted=num_networks + num_validate)
        usual, candidates = usable[:num_validate], usable[num_validate:]
    else:
        refuse_for_absent(target.device, ["--seed"] if seed else [])
        recorded = recorded_networks(space, target.device, table, num_wanted=num_networks + num_validate)
        usual = candidates = without_failed_blocks(
            list(recorded), table, source, num_wanted=num_networks + num_validate
        )
    features, _ = network_features_of(candidates, table, source)
    chosen = [candidates[index] for index in most_different(features, num_networks)]
    archs = chosen + [arch for arch in usual if arch not in chosen][:num_validate]
    if target.is_here:
        measured = measure_networks(archs, target.device.name, table, protocol=protocol)
    else:
        measured = {arch: recorded[arch] for arch in archs}
    num_fitting = sum(arch in measured for arch in chosen)
    archs, measurements = list(measured), list(measured.values())
    features, block_half_widths = network_features_of(archs, table, source)
    networks = WholeNetworks(
        features=features,
        block_half_widths=block_half_widths,
        measured_ms=numpy.array([measurement.median_ms for measurement in measurements]),
        space=space.name,
    )
    num_fit = num_fitting if num_validate else None
    correction = fit_correction(networks, num_fit=num_fit)
    one_scale = {"with one fitted scale": scale_predictor(networks.sums_ms, networks.measured_ms)}
    counting = count_predictors(archs, networks.measured_ms)
    report = TransferReport(
        source=source,
        target=target.device,
        is_here=target.is_here,
        correction=correction,
        noise_floor_percent=noise_floor_percent(measurements),
        agreements=(
            dataclasses.replace(correction.uncorrected, name="the source's sums as they are"),
            *judge_all(one_scale, networks.measured_ms, num_fit=num_fit),
            dataclasses.replace(correction.judged, name="with a scale for each kind of block"),
            *judge_all(counting, networks.measured_ms, num_fit=num_fit),
            agreement_within_noise(measurements[num_fit or 0 :]),
        ),
    )
    if report.is_quiet:
        table.set_correction(target.device, correction, source=source)
    return report


def most_different(features: FloatArray, num_networks: int) -> list[int]:
    """The networks that together say most about all coefficients; see the module.

    Args:
        features: `[num_candidates, num_features]`, rows of `network_features`.
        num_networks: How many to choose; as many as there are, if there are fewer.
    """
    shares = features / features[:, :-1].sum(axis=1, keepdims=True)  # errors are relative, so size does not count
    rows = shares / numpy.maximum(shares.std(axis=0), 1e-9)
    known = numpy.eye(rows.shape[1]) * 1e-3
    chosen: list[int] = []
    for _ in range(min(num_networks, len(rows))):
        gains = numpy.einsum("ni,ij,nj->n", rows, numpy.linalg.inv(known), rows)  # log det grows by log(1 + gain)
        gains[chosen] = -numpy.inf
        chosen.append(int(gains.argmax()))
        known += numpy.outer(rows[chosen[-1]], rows[chosen[-1]])
    return chosen


def text(report: TransferReport) -> str:
    """The report for a terminal."""
    correction = report.correction
    fate = "stored beside the target" if report.is_quiet else TOO_BUSY
    lines = [
        f"{report.target.name} from the blocks of {report.source.name}.",
        f"Fitted on {correction.num_networks} networks, judged on {correction.num_judges} ({correction.judged_on}).",
        "",
        *agreement_table(report.agreements),
        "",
        correction.describe_coefficients(),
        f"Noise floor {report.noise_floor_percent:.2f} %. The transfer is {fate}.",
    ]
    return "\n".join(lines)


def markdown(report: TransferReport, *, command: str) -> str:
    """The report as a page with command, hardware and date."""
    title = f"# Transfer of a latency table: {report.correction.space} on {report.target.name}"
    return "\n".join(
        [title, "", *provenance(report.target, command=command, is_here=report.is_here), "", text(report), ""]
    )


def json_document(report: TransferReport) -> dict[str, Any]:
    """The report for programs."""
    return dataclasses.asdict(report) | {"is_stored": report.is_quiet}
