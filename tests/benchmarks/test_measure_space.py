"""The benchmark of a whole space kills a real command, and counts what is there afterwards."""

import dataclasses

import pytest

from benchmarks.measure_space import MeasureSpaceOptions, num_lost, run_and_kill
from profilers.measurement import Sample
from profilers.subject import Subject
from search_space.errors import UsageError

BLOCK = Subject(kind="block", text="{}")
SAMPLE = Sample(raw_ms=1.0, num_runs=1, drift=1.0, round_index=0, position=0, taken_at=5.0, is_flagged=False)


def test_a_sample_is_lost_if_no_later_one_is_the_same() -> None:
    later = dataclasses.replace(SAMPLE, taken_at=6.0)
    settled = dataclasses.replace(SAMPLE, elasticity=0.5)  # the same sample, corrected by what was learnt since
    assert num_lost({BLOCK: [SAMPLE, later]}, {BLOCK: [settled, later]}) == 0
    assert num_lost({BLOCK: [SAMPLE, later]}, {BLOCK: [later]}) == 1
    assert num_lost({BLOCK: [SAMPLE, later]}, {}) == 2


def test_a_killed_command_is_taken_up_again() -> None:
    result = run_and_kill(MeasureSpaceOptions(space="mid", device="exact", kill_after_s=0.5))
    assert result.killed_after_s is not None
    assert result.num_lost == 0
    assert result.undisturbed_s is not None
    assert result.found["num_present"] == result.found["num_specs"]
    assert result.num_samples >= 2 * result.found["num_specs"]


@pytest.mark.parametrize("wrong", [{"minutes": -1.0}, {"kill_after_s": float("nan")}, {"minutes": 1.0}])
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        MeasureSpaceOptions(**wrong)  # type: ignore[arg-type]
