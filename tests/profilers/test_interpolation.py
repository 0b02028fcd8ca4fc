import dataclasses
import math

import numpy
import pytest

from profilers.backends.exact import exact_latency_ms
from profilers.interpolation import MIN_NEIGHBOURS, Interpolator
from search_space.counts import activation_bytes, macs, weight_bytes
from search_space.space import reachable_specs
from search_space.spaces import search_space
from search_space.specs import BlockSpec, ResidualSpec, TransformerSpec, UpsampleSpec

SPECS = reachable_specs(search_space("tiny"))


def power_law_ms(spec: BlockSpec) -> float:
    """A device on which the logarithm of the latency is a plane."""
    return 1e-6 * (macs(spec) + 1) ** 0.8 * (weight_bytes(spec) + activation_bytes(spec)) ** 0.15


def known(law=power_law_ms, *, without: BlockSpec | None = None) -> dict[BlockSpec, float]:
    return {spec: law(spec) for spec in SPECS if spec != without}


@pytest.mark.parametrize("kind", [ResidualSpec, TransformerSpec])
def test_a_power_law_is_found_again(kind: type) -> None:
    spec = [spec for spec in SPECS if isinstance(spec, kind)][7]
    found = Interpolator(known(without=spec)).interpolate(spec)
    assert found is not None
    assert found.latency_ms == pytest.approx(power_law_ms(spec), rel=0.02)
    assert found.error_percent < 3


def test_the_stated_error_is_about_the_real_one() -> None:
    generator = numpy.random.default_rng(0)
    noisy = {spec: exact_latency_ms(spec) * math.exp(generator.normal(0, 0.1)) for spec in SPECS}
    errors, stated = [], []
    for spec in [spec for spec in SPECS if isinstance(spec, ResidualSpec)][::3]:
        found = Interpolator({other: ms for other, ms in noisy.items() if other != spec}).interpolate(spec)
        assert found is not None
        errors.append(found.latency_ms / noisy[spec] - 1)
        stated.append(found.error_percent / 100)
    real = math.sqrt(numpy.mean(numpy.square(errors)))
    assert real / 1.5 < math.sqrt(numpy.mean(numpy.square(stated))) < 1.5 * real


def test_neighbours_share_every_option_where_there_are_enough() -> None:
    spec = next(spec for spec in SPECS if isinstance(spec, TransformerSpec) and spec.self_attention and spec.rope)
    found = Interpolator(known(without=spec)).interpolate(spec)
    assert found is not None
    assert found.same_options
    assert spec not in found.neighbours
    for neighbour in found.neighbours:
        assert isinstance(neighbour, TransformerSpec)
        assert neighbour.self_attention
        assert neighbour.rope
        assert neighbour.projection == spec.projection


def test_a_kind_stands_in_for_options_that_nobody_measured() -> None:
    spec = next(spec for spec in SPECS if isinstance(spec, TransformerSpec) and spec.self_attention)
    found = Interpolator(known()).interpolate(dataclasses.replace(spec, feed_forward="gelu", qk_norm="rms_norm"))
    assert found is not None
    assert not found.same_options
    assert {neighbour.kind for neighbour in found.neighbours} == {"transformer"}


def test_too_few_blocks_give_no_guess() -> None:
    upsamplers = [spec for spec in SPECS if isinstance(spec, UpsampleSpec)]
    few: dict[BlockSpec, float] = {spec: 1.0 for spec in upsamplers[: MIN_NEIGHBOURS - 1]}
    assert Interpolator(few).interpolate(upsamplers[-1]) is None
