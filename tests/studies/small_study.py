"""A database with a study of two trials, made by the writer itself, without a search."""

from pathlib import Path

from profilers.backends.exact import ExactBackend
from profilers.campaign import run_campaign
from profilers.estimating import estimate
from profilers.latency_table import LatencyTable
from profilers.measuring import measure_network
from profilers.storage import open_engine
from profilers.subject import Subject
from search_space.walk import block_specs
from studies.results import TrialResult
from studies.writer import StudyWriter
from tests.studies.small_training import small_arch, small_config

STUDY = "small"


def make_small_study(workspace: Path) -> str:
    """Returns the database's URL.

    Trial 0 is the small architecture, trial 1 a wider one with a worse promise, trial 2 repeats trial 0.
    """
    url = f"sqlite:///{workspace / 'snapnas.db'}"
    engine = open_engine(url)
    writer = StudyWriter(engine, STUDY)
    config, device = small_config(), ExactBackend().device
    writer.create_study(
        fingerprint={}, config=config.to_json(), objectives=config.objectives, device=device, latency_budget_ms=None
    )
    archs = [small_arch(channels) for channels in (16, 24, 16)]
    subjects = dict.fromkeys(Subject.of_block(spec) for arch in archs for spec in block_specs(arch))
    table = LatencyTable(engine)
    run_campaign(list(subjects), ExactBackend(), table)
    for number, arch in enumerate(archs):
        writer.start_trial(number, arch, estimate=estimate(arch, table, device), violation=None, seed=0)
        if number == 2:
            writer.copy_trial(number, original=0)
        else:
            writer.complete_trial(number, TrialResult(proxy_value=2.0 - number, duration_s=0.1, host="here"))
    measure_network(small_arch(), "exact", engine)
    return url
