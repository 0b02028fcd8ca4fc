"""A study of one's own, from Python: the tiny space on a pretend device, where counting stands for training.

python examples/own_recipe.py

Prints the Pareto front of latency and number of parameters after a few seconds.
"""

import dataclasses
from pathlib import Path

from profilers.storage import open_engine
from proxies.config import NumParamsProxyConfig
from studies.config import LatencyQuantile
from studies.pipeline import StudyRun, run_study
from studies.recipes import smoke
from studies.results import StudyReader

WORKSPACE = Path("workspace-example")


def main() -> None:
    config = dataclasses.replace(
        smoke(), proxy=NumParamsProxyConfig(), num_trials=20, latency_budget=LatencyQuantile(quantile=0.5)
    )
    storage_url = f"sqlite:///{WORKSPACE / 'snapnas.db'}"
    outcome = run_study(
        StudyRun(
            config=config,
            study_name="counting",
            workspace=WORKSPACE,
            storage_url=storage_url,
            num_workers=1,
            ray_address=None,
            until="search",
        )
    )
    for record in outcome.front:
        print(f"trial {record.number}: {record.latency_ms:.3f} ms, {record.values['num_params']:.0f} parameters")
    # Anyone may read a study again, also while it runs.
    reader = StudyReader(open_engine(storage_url, read_only=True))
    print(dict(reader.study("counting").num_trials_by_state))


if __name__ == "__main__":
    main()
