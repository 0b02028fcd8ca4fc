import itertools
from collections import Counter

import numpy
import pytest

from profilers.block_places import FEW_OF_A_KIND, BlockPlaces, telling_order
from search_space.counts import macs
from search_space.space import reachable_specs
from search_space.spaces import search_space
from search_space.specs import BlockSpec, ConvSpec, TransformerSpec, UpsampleSpec

SPECS = reachable_specs(search_space("tiny"))


def gap_to_nearest(chosen: list[BlockSpec]) -> float:
    """How far the block that is worst off is from the nearest chosen one."""
    places = BlockPlaces(SPECS)
    distances = numpy.stack([places.distances(places.place(spec)) for spec in chosen])
    return float(distances.min(axis=0).max())


def test_only_blocks_of_one_kind_with_equal_work_are_in_one_place() -> None:
    places = BlockPlaces(SPECS)
    for index in range(0, len(SPECS), 37):
        distances = places.distances(places[index])
        assert distances[index] == 0
        for same in numpy.flatnonzero(distances == 0):
            assert (SPECS[same].kind, macs(SPECS[same])) == (SPECS[index].kind, macs(SPECS[index]))


def test_an_option_counts_as_much_as_e_times_the_work() -> None:
    small = UpsampleSpec(channels=64, size=8, convolution="full")
    other = UpsampleSpec(channels=64, size=8, convolution="separable")
    places = BlockPlaces([small, other])
    work_alone = numpy.linalg.norm(places.log_work[0] - places.log_work[1])
    assert places.distances(places[0])[1] == pytest.approx(work_alone + 1)
    assert places.num_differing(places[0]).tolist() == [0, 1]


def test_a_value_that_none_of_the_blocks_has_differs_from_all() -> None:
    spec = next(spec for spec in SPECS if isinstance(spec, TransformerSpec))
    places = BlockPlaces([spec])
    conv = places.place(ConvSpec(in_channels=4, out_channels=8, size=8))
    assert places.num_differing(conv)[0] == len(places.options[0])


def test_the_first_few_are_some_of_every_kind() -> None:
    num_of_kind = Counter(spec.kind for spec in SPECS)
    wanted = {kind: min(num, FEW_OF_A_KIND) for kind, num in num_of_kind.items()}
    first = Counter(spec.kind for spec in itertools.islice(telling_order(SPECS), sum(wanted.values())))
    assert first == wanted


def test_every_prefix_stands_for_all_better_than_chance() -> None:
    order = list(telling_order(SPECS))
    assert sorted(map(repr, order)) == sorted(map(repr, SPECS))
    generator = numpy.random.default_rng(0)
    for num in (40, 80, 160):
        drawn = [SPECS[index] for index in generator.choice(len(SPECS), num, replace=False)]
        assert gap_to_nearest(order[:num]) < gap_to_nearest(drawn)
    assert gap_to_nearest(order[:160]) < gap_to_nearest(order[:40])


def test_blocks_that_are_known_need_not_be_measured_again() -> None:
    order = list(telling_order(SPECS))
    assert list(telling_order([spec for spec in SPECS if spec not in order[:50]], known=order[:50])) == order[50:]
