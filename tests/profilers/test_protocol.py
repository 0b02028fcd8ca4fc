import dataclasses
import itertools

import pytest

from profilers.protocol import Protocol, is_finished, protocol_of
from search_space.errors import UsageError
from tests.profilers.samples import steady_sample


def test_what_takes_long_to_load_stays_longer() -> None:
    protocol = Protocol(min_process_s=20, max_loading_share=0.1, max_loading_share_in_turns=0.5)
    assert protocol.process_end_s(100.0, 101.0, in_turns=False) == pytest.approx(121.0)
    assert protocol.process_end_s(100.0, 130.0, in_turns=False) == pytest.approx(400.0)
    assert protocol.process_end_s(100.0, 130.0, in_turns=True) == pytest.approx(160.0)


def test_a_subject_is_finished_when_it_is_stable_or_has_had_its_chances() -> None:
    protocol = Protocol(min_rounds=5, max_rounds=10)
    noisy = [steady_sample(value) for value in itertools.islice(itertools.cycle((1.0, 1.5, 2.0)), 20)]
    assert not is_finished([steady_sample()] * 4, protocol)
    assert is_finished([steady_sample()] * 5, protocol)
    assert not is_finished(noisy[:9], protocol)
    assert is_finished(noisy[:10], protocol)
    assert is_finished([steady_sample(is_flagged=True)] * 5, protocol)
    assert [number for number in range(1, 11) if is_finished([steady_sample()] * number, protocol)] == [5, 9, 10]


def test_the_number_of_rounds_can_be_chosen_and_nothing_else_changes() -> None:
    assert protocol_of(0) is None
    assert protocol_of(100) == dataclasses.replace(Protocol(), max_rounds=100)
    with pytest.raises(UsageError, match="--max-rounds 7 was given\nallowed: at least 8"):
        protocol_of(7)
