"""What a run would do, without doing it: touches no file and no database, and imports no torch."""

import json
from typing import Any

from profilers.device import Device
from profilers.estimating import BlockLatencies
from profilers.finding_device import find_device
from profilers.latency_table import LatencyTable
from profilers.storage import display_url
from proxies.config import DistillationProxyConfig
from search_space.errors import UsageError
from search_space.space import reachable_specs
from studies.config import StudyConfig
from studies.pipeline import StudyRun, resolve_budget
from studies.table_to_read import table_to_read


def plan_document(run: StudyRun) -> dict[str, Any]:
    """The resolved config, the size of the search, what the latency table holds and what the run will cost."""
    config = run.config
    return {
        "study": run.study_name,
        "workspace": str(run.workspace),
        "storage": display_url(run.storage_url),
        "until": run.until,
        "num_architectures": config.search_space.size,
        "latency_table": _latency_plan(run),
        "budget": _budget(config),
        "config": json.loads(config.to_json()),
    }


def print_plan(plan: dict[str, Any]) -> None:
    """Prints the plan for people on stdout."""
    table, budget = plan["latency_table"], plan["budget"]
    print(f"study: {plan['study']} in {plan['storage']}, up to the {plan['until']}")
    print(f"search space: {plan['config']['space']}, {plan['num_architectures']:,} architectures")
    guessed = f", {table['num_guessed']} guessed from them" if table["num_guessed"] else ""
    print(f"latency table: {table['num_present']} of {table['num_blocks']} blocks on {table['device']}{guessed}")
    limit = table["latency_budget_ms"]
    print(f"latency budget: {'known once the table is complete' if limit is None else f'{limit:.3f} ms'}")
    print("cost: " + ", ".join(f"{name} {value}" for name, value in budget.items() if value is not None))
    print(json.dumps(plan["config"], indent=2, sort_keys=True))


def _latency_plan(run: StudyRun) -> dict[str, Any]:
    config = run.config
    specs = reachable_specs(config.search_space)
    num_present, num_guessed, latency_budget_ms = 0, 0, None
    with table_to_read(run.storage_url) as table:
        device = _device(config, table)
        if table is not None and device is not None:
            latencies = BlockLatencies.of_space(config.search_space, table, device, interpolate=config.interpolate)
            num_present = sum(block.guess is None for block in latencies.known.values())
            num_guessed = len(latencies.known) - num_present
            if len(latencies.known) + len(latencies.failed) == len(specs):
                latency_budget_ms = resolve_budget(config.latency_budget, config.search_space, latencies)
    return {
        "device": config.device,
        "num_blocks": len(specs),
        "num_present": num_present,
        "num_guessed": num_guessed,
        "latency_budget_ms": latency_budget_ms,
    }


def _device(config: StudyConfig, table: LatencyTable | None) -> Device | None:
    """The study's device; None for a recipe's that is neither here nor in the table yet."""
    try:
        return find_device(config.device, table).device
    except UsageError:
        return None


def _budget(config: StudyConfig) -> dict[str, Any]:
    """What the long steps are allowed, as far as the config says."""
    candidate_steps = None
    if isinstance(config.proxy, DistillationProxyConfig):
        candidate_steps = config.proxy.training.num_steps * config.num_trials
    return {
        "num_trials": config.num_trials,
        "candidate_training_steps": candidate_steps,
        "teacher_training_steps": config.teacher.training.num_steps,
        "teacher_training_max_s": config.teacher.training.max_duration_s,
        "winner_training_steps": config.winner_training.num_steps,
        "winner_training_max_s": config.winner_training.max_duration_s,
    }
