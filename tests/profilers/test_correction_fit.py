"""The fit against a world whose truth is known: made-up tables, scales and networks."""

import dataclasses
import math
from dataclasses import dataclass

import numpy
import pytest

from profilers.agreement import FloatArray, judge, scale_predictor
from profilers.backends.exact import ExactBackend, exact_latency_ms
from profilers.correction import GROUPS, Correction, network_features, scale_group
from profilers.correction_fit import WholeNetworks, correction_predictor, fit_correction
from profilers.estimating import BlockLatencies, KnownBlock
from profilers.measurement import Measurement
from search_space.arch import ArchConfig
from search_space.errors import SnapNASError
from search_space.space import random_arch
from search_space.spaces import search_space
from search_space.specs import BlockSpec, spec_key
from search_space.walk import block_specs
from tests.profilers.corrections import one_scale

SCALES = dict(zip(GROUPS, (1.25, 1.1, 1.3, 1.15, 1.05, 1.2), strict=True))
OVERHEAD_MS = 0.004
TINY = search_space("tiny")


@dataclass(frozen=True)
class World:
    """A made-up device: its table, its networks as they are, and as they were measured."""

    table: dict[BlockSpec, tuple[float, float, float]]
    """The low end of the interval, the median, and the high end."""
    archs: list[ArchConfig]
    true_ms: FloatArray
    measured_ms: FloatArray

    def networks(self, num: int) -> WholeNetworks:
        blocks = self.blocks(None)
        archs = self.archs[:num]
        return WholeNetworks(
            features=numpy.stack([network_features(blocks.medians(arch)) for arch in archs]),
            block_half_widths=numpy.array([blocks.own_half_width(arch) for arch in archs]),
            measured_ms=self.measured_ms[:num],
            space="tiny",
        )

    def blocks(self, correction: Correction | None) -> BlockLatencies:
        device = ExactBackend().device
        known = {}
        for spec, (low_ms, median_ms, high_ms) in self.table.items():
            scale = correction.scales[scale_group(spec)] if correction else 1.0
            known[spec] = KnownBlock(
                latency_ms=correction.corrected_ms(spec, median_ms) if correction else median_ms,
                below_ms=scale * (median_ms - low_ms),
                above_ms=scale * (high_ms - median_ms),
            )
        return BlockLatencies(device=device, source=device, known=known, failed={}, correction=correction)


def made_up_world(
    seed: int,
    *,
    num_networks: int,
    first_arch: int = 0,
    sample_noise: float = 0.02,
    misfit: float = 0.0,
    network_noise: float = 0.0,
    is_sum: bool = False,
) -> World:
    """Blocks with latencies of their own and twelve noisy samples each; networks that add them up by SCALES."""
    generator = numpy.random.default_rng(seed)
    archs = [random_arch(TINY, first_arch + index) for index in range(num_networks)]
    walks = [block_specs(arch) for arch in archs]
    specs = sorted({spec for walk in walks for spec in walk}, key=spec_key)
    truth = {spec: exact_latency_ms(spec) * math.exp(generator.normal(0, 0.3)) for spec in specs}
    samples = {
        spec: tuple(latency_ms * numpy.exp(generator.normal(0, sample_noise, 12))) for spec, latency_ms in truth.items()
    }
    sums_ms = numpy.array(
        [
            sum(truth[spec] if is_sum else SCALES[scale_group(spec)] * truth[spec] + OVERHEAD_MS for spec in walk)
            for walk in walks
        ]
    )
    true_ms = sums_ms * (1 + generator.normal(0, misfit, num_networks))
    return World(
        archs=archs,
        table={spec: _row(Measurement(samples_ms=taken)) for spec, taken in samples.items()},
        true_ms=true_ms,
        measured_ms=true_ms * numpy.exp(generator.normal(0, network_noise, num_networks)),
    )


def _row(measurement: Measurement) -> tuple[float, float, float]:
    low_ms, high_ms = measurement.confidence_interval_ms()
    return low_ms, measurement.median_ms, high_ms


def test_quiet_networks_give_every_scale_back() -> None:
    world = made_up_world(0, num_networks=24, sample_noise=1e-5)
    correction = fit_correction(world.networks(24))
    assert correction.judged.mape_percent < 0.05
    for group in ("full residual", "separable residual", "self-attention", "cross-attention"):
        assert correction.scales[group] == pytest.approx(SCALES[group], rel=0.01)
    assert correction.uncorrected.mape_percent > 10


def test_kinds_that_differ_are_predicted_better_than_by_one_scale() -> None:
    networks = made_up_world(1, num_networks=20, misfit=0.005).networks(20)
    predicted_ms, judges = judge(scale_predictor(networks.sums_ms, networks.measured_ms), 20)
    one_scale = numpy.abs(predicted_ms / networks.measured_ms[judges] - 1).mean()
    assert fit_correction(networks).judged.mape_percent / 100 < 0.5 * one_scale


def test_noise_leaves_one_common_scale() -> None:
    networks = made_up_world(2, num_networks=20, is_sum=True, network_noise=0.2).networks(20)
    scales = list(fit_correction(networks).scales.values())
    assert max(scales) / min(scales) < 1.05


def test_no_scale_is_below_zero() -> None:
    networks = made_up_world(3, num_networks=12, network_noise=0.3).networks(12)
    assert min(fit_correction(networks).scales.values()) >= 0


def test_what_a_block_pays_only_when_it_is_timed_alone_is_found() -> None:
    world = made_up_world(7, num_networks=30, sample_noise=1e-5, is_sum=True)
    networks, call_ms = world.networks(30), 0.02
    features = networks.features.copy()
    features[:, 0] += call_ms * features[:, -1] / 2  # as if half of the blocks were full residual ones
    features[:, 3] += call_ms * features[:, -1] / 2  # and the others cross-attention
    correction = fit_correction(dataclasses.replace(networks, features=features))
    assert correction.overhead_ms == pytest.approx(-call_ms, rel=0.1)
    assert correction.judged.mape_percent < 0.2


def test_an_estimate_is_what_the_fit_predicts_below_zero_or_not() -> None:
    world, correction = made_up_world(8, num_networks=4), one_scale(1.1, overhead_ms=-0.06)
    predicted_ms = world.networks(4).features @ numpy.array([*correction.scales.values(), correction.overhead_ms])
    blocks = world.blocks(correction)
    assert min(block.latency_ms for block in blocks.known.values()) < 0
    assert [blocks.estimate(arch).latency_ms for arch in world.archs] == pytest.approx(predicted_ms)


@pytest.mark.parametrize("num_judges", [0, 1])
def test_fewer_than_two_judges_are_refused(num_judges: int) -> None:
    with pytest.raises(SnapNASError, match="too few are left to judge"):
        fit_correction(made_up_world(0, num_networks=8).networks(8), num_fit=8 - num_judges)


def test_judges_take_no_part_in_the_fit() -> None:
    networks = made_up_world(4, num_networks=14, misfit=0.01).networks(14)
    before = fit_correction(networks, num_fit=10)
    networks.measured_ms[12] *= 3
    after = fit_correction(networks, num_fit=10)
    assert after.scales == before.scales
    assert after.judged.mape_percent > before.judged.mape_percent + 10
    assert (after.num_networks, after.num_judges, after.judged_on) == (10, 4, "unseen networks")


def test_left_out_networks_do_not_move_their_own_prediction() -> None:
    networks = made_up_world(5, num_networks=10, misfit=0.01).networks(10)
    before, _ = judge(correction_predictor(networks), 10)
    networks.measured_ms[3] *= 2
    after, _ = judge(correction_predictor(networks), 10)
    assert after[3] == before[3]
    assert after[4] != before[4]


def test_a_correction_survives_its_json() -> None:
    correction = fit_correction(made_up_world(6, num_networks=8, misfit=0.01).networks(8))
    assert Correction.from_json(correction.to_json()) == correction
    assert f"{correction.judged.mape_percent:.1f} %" in correction.describe()


@pytest.mark.slow
def test_intervals_of_plain_sums_cover_the_truth() -> None:
    num_covered = 0
    for seed in range(300):
        world = made_up_world(1000 + seed, num_networks=1, first_arch=seed, is_sum=True)
        found = world.blocks(None).estimate(world.archs[0])
        num_covered += found.low_ms <= world.true_ms[0] <= found.high_ms
    assert 0.90 <= num_covered / 300 <= 0.99


@pytest.mark.slow
def test_intervals_of_corrected_sums_cover_networks_they_have_not_seen() -> None:
    num_covered = 0
    for seed in range(20):
        world = made_up_world(200 + seed, num_networks=29, first_arch=29 * seed, misfit=0.015, network_noise=0.005)
        blocks = world.blocks(fit_correction(world.networks(14)))
        for arch, measured_ms in zip(world.archs[14:], world.measured_ms[14:], strict=True):
            found = blocks.estimate(arch)
            num_covered += found.low_ms <= measured_ms <= found.high_ms
    assert 0.90 <= num_covered / 300 <= 0.99
