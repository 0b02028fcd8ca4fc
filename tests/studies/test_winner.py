"""The winner is the best promise that keeps the budget; without one the message helps."""

import dataclasses

import pytest

from search_space.errors import NoFeasibleTrialError
from studies.winner import choose_winner
from tests.studies.test_results import _record


def test_the_best_promise_wins_and_of_equal_ones_the_fastest() -> None:
    records = [_record(0, 1, 9), _record(1, 4, 2), _record(2, 3, 2), _record(3, 2, 5)]
    assert choose_winner(records, latency_budget_ms=None).number == 2


def test_without_a_feasible_trial_the_message_says_how_to_raise_the_budget() -> None:
    slow = [dataclasses.replace(_record(n, 5.0 - n, 1, state="infeasible"), violation=1.0) for n in range(3)]
    with pytest.raises(NoFeasibleTrialError, match="budget of 2 ms; the fastest of 3 takes 3 ms") as caught:
        choose_winner(slow, latency_budget_ms=2.0)
    assert caught.value.exit_code == 3
    assert "--max-latency-ms 3.6" in str(caught.value)


def test_trials_that_all_failed_are_not_blamed_on_the_budget() -> None:
    with pytest.raises(NoFeasibleTrialError, match="none of 1 trials was evaluated"):
        choose_winner([_record(0, 1, 1, state="failed")], latency_budget_ms=2.0)
