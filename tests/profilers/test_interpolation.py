import dataclasses
import itertools
import math

import numpy
import pytest

from profilers.backends.exact import exact_latency_ms
from profilers.block_places import FEW_OF_A_KIND, telling_order
from profilers.interpolation import Interpolator
from profilers.roofline.operations import operations
from search_space.space import reachable_specs
from search_space.spaces import search_space
from search_space.specs import BlockSpec, ResidualSpec, TransformerSpec, UpsampleSpec

SPECS = reachable_specs(search_space("tiny"))
US_PER_MEGAMAC = {"full_convolution": 20.0, "depthwise_convolution": 90.0, "linear": 30.0, "attention": 60.0}


def additive_ms(spec: BlockSpec) -> float:
    """A device on which every operation takes what its arithmetic and its traffic take, and 2 us to be started."""
    found = operations(spec)
    arithmetic_us = sum(US_PER_MEGAMAC.get(operation.kind, 0.0) * operation.macs / 1e6 for operation in found)
    traffic_us = sum(operation.num_activations / 2000 for operation in found)
    return (arithmetic_us + traffic_us + 2 * sum(operation.num_launches for operation in found)) / 1000


def caching_ms(spec: BlockSpec) -> float:
    """A device that no sum describes: the more a block works, the better it fills the machine, up to a point."""
    latency_ms = additive_ms(spec)
    return latency_ms * (1 + 0.5 * math.exp(-latency_ms)) * (1.2 if getattr(spec, "rope", False) else 1.0)


def known(law=additive_ms, *, without: BlockSpec | None = None) -> dict[BlockSpec, float]:
    return {spec: law(spec) for spec in SPECS if spec != without}


@pytest.mark.parametrize("kind", [ResidualSpec, TransformerSpec])
def test_a_sum_of_operations_is_found_again(kind: type) -> None:
    spec = [spec for spec in SPECS if isinstance(spec, kind)][7]
    found = Interpolator(known(without=spec)).interpolate(spec)
    assert found is not None
    assert found.latency_ms == pytest.approx(additive_ms(spec), rel=0.005)
    assert found.error_percent < 0.5


def test_blocks_alike_tell_what_no_sum_of_operations_does() -> None:
    chosen = list(itertools.islice(telling_order(SPECS), 120))
    interpolator = Interpolator({spec: caching_ms(spec) for spec in chosen})
    errors = [
        found.latency_ms / caching_ms(spec) - 1
        for spec in SPECS
        if spec not in chosen and (found := interpolator.interpolate(spec)) is not None
    ]
    assert len(errors) > 200
    assert math.sqrt(numpy.mean(numpy.square(errors))) < 0.04


@pytest.mark.parametrize("num_known", [40, 150])
def test_the_stated_error_is_about_the_real_one(num_known: int) -> None:
    generator = numpy.random.default_rng(0)
    noisy = {spec: caching_ms(spec) * math.exp(generator.normal(0, 0.1)) for spec in SPECS}
    chosen = list(itertools.islice(telling_order(SPECS), num_known))
    interpolator = Interpolator({spec: noisy[spec] for spec in chosen})
    errors, stated = [], []
    for spec in SPECS:
        if spec not in chosen and (found := interpolator.interpolate(spec)) is not None:
            errors.append(math.log(found.latency_ms / noisy[spec]))
            stated.append(math.log1p(found.error_percent / 100))
    real = math.sqrt(numpy.mean(numpy.square(errors)))
    assert real / 1.5 < math.sqrt(numpy.mean(numpy.square(stated))) < 1.5 * real


def test_a_guess_from_far_away_states_a_larger_error() -> None:
    generator = numpy.random.default_rng(0)
    by_options: dict[str, float] = {}  # what makes blocks alike alike, and no operation shows

    def latency_ms(spec: BlockSpec) -> float:
        options = str({name: value for name, value in vars(spec).items() if isinstance(value, str | bool)})
        return additive_ms(spec) * by_options.setdefault(options, math.exp(generator.normal(0, 0.3)))

    interpolator = Interpolator(known(latency_ms))
    spec = next(spec for spec in SPECS if isinstance(spec, TransformerSpec) and spec.self_attention)
    near = interpolator.interpolate(dataclasses.replace(spec, context_length=spec.context_length + 1))
    far = interpolator.interpolate(dataclasses.replace(spec, size=8 * spec.size))
    assert near is not None
    assert far is not None
    assert near.num_differing_options == far.num_differing_options == 0
    assert near.error_percent < far.error_percent


def test_a_guess_that_is_far_too_low_is_as_wrong_as_one_far_too_high() -> None:
    specs = [spec for spec in SPECS if isinstance(spec, UpsampleSpec)]
    alternating: dict[BlockSpec, float] = {spec: 4.0 ** (-1) ** index for index, spec in enumerate(specs)}
    found = Interpolator(alternating).interpolate(dataclasses.replace(specs[0], size=specs[0].size + 1))
    assert found is not None
    assert found.error_percent > 250  # by a factor of three and a half; as shares of the truth, misses below end at 1


def test_neighbours_are_of_the_kind_and_the_nearest_shares_every_option() -> None:
    spec = next(spec for spec in SPECS if isinstance(spec, TransformerSpec) and spec.self_attention and spec.rope)
    found = Interpolator(known(without=spec)).interpolate(spec)
    assert found is not None
    assert found.num_differing_options == 0
    assert spec not in found.neighbours
    assert {neighbour.kind for neighbour in found.neighbours} == {"transformer"}
    nearest = found.neighbours[0]
    assert isinstance(nearest, TransformerSpec)
    assert (nearest.self_attention, nearest.rope, nearest.projection) == (True, True, spec.projection)


def test_others_of_the_kind_stand_in_for_options_that_nobody_measured() -> None:
    spec = next(spec for spec in SPECS if isinstance(spec, TransformerSpec) and spec.self_attention)
    new = dataclasses.replace(spec, feed_forward="gelu", qk_norm="rms_norm", norm_replaces_self_attention=True)
    found = Interpolator(known()).interpolate(new)
    assert found is not None
    assert found.num_differing_options > 0
    assert found.latency_ms == pytest.approx(additive_ms(new), rel=0.05)


def test_the_whole_device_exact_is_guessed_from_a_few_dozen_blocks() -> None:
    chosen = list(itertools.islice(telling_order(SPECS), 60))
    interpolator = Interpolator({spec: exact_latency_ms(spec) for spec in chosen})
    errors = [
        abs(found.latency_ms / exact_latency_ms(spec) - 1)
        for spec in SPECS
        if (found := interpolator.interpolate(spec)) is not None
    ]
    assert numpy.mean(errors) < 0.08


def test_too_few_blocks_give_no_guess() -> None:
    upsamplers = [spec for spec in SPECS if isinstance(spec, UpsampleSpec)]
    few: dict[BlockSpec, float] = {spec: 1.0 for spec in upsamplers[: FEW_OF_A_KIND - 1]}
    assert Interpolator(few).interpolate(upsamplers[-1]) is None
    assert Interpolator({}).interpolate(upsamplers[-1]) is None
