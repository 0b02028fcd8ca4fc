"""Chooses what is worth training: the best promise among the architectures that keep the latency budget."""

from collections.abc import Sequence

from search_space.errors import NoFeasibleTrialError
from studies.results import TrialRecord, pareto_front


def choose_winner(records: Sequence[TrialRecord], *, latency_budget_ms: float | None) -> TrialRecord:
    """The trial of the Pareto front with the best proxy value; of equal ones the fastest.

    Raises:
        NoFeasibleTrialError: No trial that was evaluated keeps the budget.
    """
    front = pareto_front(records)
    if front:
        return min(front, key=lambda record: (record.losses[-1], record.losses[0], record.number))
    latencies_ms = [record.latency_ms for record in records if record.latency_ms is not None]
    if latency_budget_ms is None or not latencies_ms or min(latencies_ms) <= latency_budget_ms:
        raise NoFeasibleTrialError(
            f"none of {len(records)} trials was evaluated to the end",
            fix="see why in the dashboard, or give more --trials",
        )
    fastest_ms = min(latencies_ms)
    raise NoFeasibleTrialError(
        f"no architecture keeps the latency budget of {latency_budget_ms:.4g} ms; "
        f"the fastest of {len(latencies_ms)} takes {fastest_ms:.4g} ms",
        fix=f"begin a new study with a higher budget: --max-latency-ms {fastest_ms * 1.2:.3g} --study NAME",
    )
