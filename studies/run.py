"""Runs a whole study: `python -m studies.run [RECIPE]`.

Finds the architecture for a device, trains it and exports it. To resume, type the same command again.
"""

import dataclasses
import hashlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from search_space import command_line
from search_space.errors import UsageError
from studies.run_options import RunOptions

if TYPE_CHECKING:  # the database and numpy take a second to import, which --help does without
    from studies.config import StudyConfig
    from studies.pipeline import StudyRun

_MAX_NAME_LENGTH = 64
_STUDY_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{_MAX_NAME_LENGTH - 1}}}")


def resolve(options: RunOptions) -> "StudyRun":
    """What the options ask for, checked as far as that goes without touching anything.

    Raises:
        UsageError: A name is unknown, or options do not go together.
    """
    from studies.pipeline import StudyRun
    from studies.selection import storage_url

    config = _config(options)
    name = options.study or default_study_name(config)
    if not _STUDY_NAME.fullmatch(name):
        raise UsageError(
            f"study name {name!r}", allowed=f"up to {_MAX_NAME_LENGTH} letters, digits, dots, dashes and underscores"
        )
    if options.workers < 1:
        raise UsageError(f"--workers {options.workers}", allowed="an integer from 1")
    return StudyRun(
        config=config,
        study_name=name,
        workspace=options.out,
        storage_url=storage_url(options.storage, options.out),
        num_workers=options.workers,
        ray_address=options.ray,
        until=options.until,
    )


def run(options: RunOptions) -> None:
    """The command."""
    resolved = resolve(options)
    if options.dry_run:
        from studies.dry_run import plan_document, print_plan

        plan = plan_document(resolved)
        command_line.print_json(plan) if options.json else print_plan(plan)
        return
    from studies.pipeline import run_study
    from studies.summary import outcome_document, print_outcome

    outcome = run_study(resolved)
    print_outcome(outcome)
    if options.json:
        command_line.print_json(outcome_document(outcome))


def default_study_name(config: "StudyConfig") -> str:
    """The recipe's name, with what was asked for in place of its data, device or budget: each is another study."""
    from studies.config import LatencyLimit
    from studies.recipes import study_config

    recipe = study_config(config.recipe)
    parts = [config.recipe]
    if config.data != recipe.data:
        parts.append(Path(config.data).expanduser().resolve().name)
    if config.device != recipe.device:
        parts.append(config.device)
    if config.interpolate != recipe.interpolate:
        parts.append("interpolated")
    budget = config.latency_budget
    if isinstance(budget, LatencyLimit) and budget != recipe.latency_budget:
        parts.append(f"{budget.max_latency_ms:g}-ms")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(parts))
    if len(name) <= _MAX_NAME_LENGTH:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]  # two long names may begin alike
    return f"{name[: _MAX_NAME_LENGTH - 1 - len(digest)]}-{digest}"


def _config(options: RunOptions) -> "StudyConfig":
    from studies.config import LatencyLimit
    from studies.recipes import study_config
    from studies.selection import storage_url
    from training.data.names import DATA_NAMES

    config = study_config(options.recipe)
    if options.trials is not None:
        if options.trials < 1:
            raise UsageError(f"--trials {options.trials}", allowed="an integer from 1")
        config = dataclasses.replace(config, num_trials=options.trials)
    if options.device is not None:
        _require_device(options.device, storage_url(options.storage, options.out))
        config = dataclasses.replace(config, device=options.device)
    if options.interpolate:
        config = dataclasses.replace(config, interpolate=True)
    if options.data is not None:
        if options.data not in DATA_NAMES and not Path(options.data).expanduser().is_dir():
            raise UsageError(
                f"no data set or folder is called {options.data!r}",
                allowed=f"{', '.join(DATA_NAMES)}, or a folder of images with captions",
                fix="check the spelling, or the path from the current folder",
            )
        config = dataclasses.replace(config, data=options.data)
    if options.max_latency_ms is not None:
        config = dataclasses.replace(config, latency_budget=LatencyLimit(max_latency_ms=options.max_latency_ms))
    return config


def _require_device(name: str, storage: str) -> None:
    """Refuses a device that is neither here nor in the table, before the run makes anything."""
    from profilers.finding_device import find_device
    from studies.table_to_read import table_to_read

    try:
        find_device(name, None)
    except UsageError:  # only now is the table worth a look
        with table_to_read(storage) as table:
            find_device(name, table)


def _with_ray_address(arguments: list[str]) -> list[str]:
    """`--ray` alone means this machine; a word after it is an address only if it looks like one."""
    expanded = []
    for index, argument in enumerate(arguments):
        expanded.append(argument)
        following = arguments[index + 1] if index + 1 < len(arguments) else ""
        if argument == "--ray" and following not in ("local", "auto") and ":" not in following:
            expanded.append("local")
    return expanded


if __name__ == "__main__":
    sys.argv[1:] = _with_ray_address(sys.argv[1:])
    command_line.run(run, RunOptions, prog="studies.run")
