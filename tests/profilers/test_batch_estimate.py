import numpy
import pytest

from profilers.backends.exact import exact_latency_ms
from profilers.batch_estimate import LatencyModel, estimate_batch
from profilers.encoding import SpaceEncoding
from profilers.estimating import MissingLatencyError
from search_space.space import random_arch, reachable_specs
from search_space.spaces import search_space
from search_space.walk import block_specs
from tests.profilers.exact_blocks import exact_blocks

TINY = search_space("tiny")


@pytest.mark.parametrize(("name", "num_archs"), [("tiny", 1000), ("snapgen", 200)])
def test_look_ups_add_up_to_the_walk(name: str, num_archs: int) -> None:
    encoding = SpaceEncoding.of(search_space(name))
    codes = encoding.sample(num_archs, seed=0)
    archs = [encoding.decode(row) for row in codes]
    model = LatencyModel(encoding, exact_blocks(spec for arch in archs for spec in block_specs(arch)))
    expected_ms = [sum(map(exact_latency_ms, block_specs(arch))) for arch in archs]
    assert model.predict(codes) == pytest.approx(expected_ms, rel=1e-12)
    assert model.predict(codes[::-1]) == pytest.approx(expected_ms[::-1], rel=1e-12)


def test_numbers_learnt_from_some_networks_hold_for_all_others() -> None:
    encoding = SpaceEncoding.of(TINY)
    model = LatencyModel(encoding, exact_blocks(reachable_specs(TINY)))
    model.predict(encoding.sample(5000, seed=1))
    archs = [random_arch(TINY, seed) for seed in range(300)]
    expected_ms = [sum(map(exact_latency_ms, block_specs(arch))) for arch in archs]
    assert model.predict(encoding.encode(archs)) == pytest.approx(expected_ms, rel=1e-12)


def test_a_batch_of_any_architectures_equals_one_by_one() -> None:
    archs = [random_arch(search_space(name), seed) for name in ("tiny", "snapgen") for seed in range(5)]
    blocks = exact_blocks(spec for arch in archs for spec in block_specs(arch))
    assert estimate_batch(archs, blocks).tolist() == [blocks.estimate(arch).latency_ms for arch in archs]
    assert estimate_batch([], blocks).shape == (0,)


def test_a_missing_block_is_an_error_in_both() -> None:
    encoding = SpaceEncoding.of(TINY)
    blocks = exact_blocks(reachable_specs(TINY)[1:])
    codes = encoding.sample(500, seed=0)
    with pytest.raises(MissingLatencyError, match="profilers.measure --device exact"):
        LatencyModel(encoding, blocks).predict(codes)
    with pytest.raises(MissingLatencyError, match="profilers.measure --device exact"):
        estimate_batch([encoding.decode(row) for row in codes], blocks)


def test_samples_are_as_even_as_those_of_the_tree() -> None:
    encoding = SpaceEncoding.of(TINY)
    num_archs = 2000
    walked = encoding.encode([random_arch(TINY, seed) for seed in range(500)])
    drawn = encoding.sample(num_archs, seed=3)
    for name, column in encoding.columns.items():
        for code in range(len(encoding.values[name])):
            expected, found = (walked[:, column] == code).mean(), (drawn[:, column] == code).mean()
            noise = numpy.sqrt(0.25 / 500 + 0.25 / num_archs)
            assert abs(expected - found) < 4.5 * noise, (name, code)


def test_an_architecture_comes_back_from_its_row() -> None:
    encoding = SpaceEncoding.of(TINY)
    arch = random_arch(TINY, 7)
    assert encoding.decode(encoding.encode([arch])[0]) == arch
