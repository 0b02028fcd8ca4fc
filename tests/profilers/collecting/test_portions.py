"""How the page measures what it is asked for, and what it does about models that break its runtime."""

import itertools

import pytest
from sqlalchemy import Engine

from profilers.collecting.headless_chromium import ChromiumPage
from profilers.collecting.jobs import Job, JobStore
from profilers.collecting.plan import PROTOCOL
from tests.profilers.collecting.conftest import HAS_CHROMIUM, HAS_RUNTIME
from tests.profilers.collecting.driven_page import follow, stand_in_page, start, wait_for

pytestmark = pytest.mark.skipif(
    not (HAS_CHROMIUM and HAS_RUNTIME), reason="needs chromium and scripts/install_browser_runtime"
)


def measured_job(
    page: ChromiumPage, store: JobStore, *, num_blocks: int, num_networks: int = 0, **settings: object
) -> Job:
    """A new job, measured to its end by the page whose runner has these settings."""
    opened, token = store.create(
        space="tiny", device_name="browser-test", max_blocks=num_blocks, num_networks=num_networks
    )
    for name, value in settings.items():
        page.evaluate(f"localStorage.setItem('{name}', '{value}')")
    follow(page, token)
    start(page)
    wait_for(page, "Done|stopped")
    job = store.job(opened.job_id)
    assert job.status == "complete"
    return job


def failed_keys(job: Job, store: JobStore) -> list[str]:
    return [failure.key for item in store.received(job) for failure in item.portion.failures]


def test_blocks_that_break_the_runtime_fail_and_are_tried_again_in_the_next_job(
    collecting_engine: Engine, store: JobStore
) -> None:
    with stand_in_page(collecting_engine) as page:
        first = measured_job(page, store, num_blocks=4, numToBreak=2)
        broken = page.evaluate("JSON.parse(localStorage.getItem('broken'))")
        second = measured_job(page, store, num_blocks=4, numToBreak=0)
    assert first.plan is not None
    assert second.plan is not None
    assert set(first.plan.subjects) == set(second.plan.subjects)
    assert len(broken) == 2
    assert sorted(failed_keys(first, store)) == sorted(broken)
    assert len(store.received(first)[-1].portion.samples) == 2
    assert failed_keys(second, store) == []


def calls_of(page: ChromiumPage, *names: str) -> list[list[str]]:
    """What the page asked its runner for, in order: a name and a key each."""
    return [call for call in page.evaluate("calls") if call[0] in names]


def test_by_an_exact_clock_blocks_run_in_company_and_networks_in_loops_between_looks_at_the_sentinel(
    collecting_engine: Engine, store: JobStore
) -> None:
    with stand_in_page(collecting_engine) as page:
        job = measured_job(page, store, num_blocks=1, num_networks=2)
        runs, loops = calls_of(page, "run"), calls_of(page, "sample")
    assert job.plan is not None
    block, *networks = [subject.subject_id for subject in job.plan.subjects]
    turns = [index for index, (_, key) in enumerate(runs) if key == block]
    assert len(turns) == PROTOCOL.min_rounds * (1 + PROTOCOL.num_passes)
    assert {later - earlier for earlier, later in itertools.pairwise(turns)} == {PROTOCOL.sentinel_every}
    assert not {key for _, key in runs} & set(networks)
    looped = [key for _, key in loops]
    for network in networks:
        places = [index for index, key in enumerate(looped) if key == network]
        assert len(places) == PROTOCOL.min_rounds
        assert all(looped[index - 1] == looped[index + 1] == "sentinel" for index in places)


def test_by_a_coarse_clock_everything_is_looped_without_company(collecting_engine: Engine, store: JobStore) -> None:
    with stand_in_page(collecting_engine) as page:
        job = measured_job(page, store, num_blocks=2, num_networks=1, clock="coarse")
        loads, runs = calls_of(page, "load"), calls_of(page, "run")
    assert job.plan is not None
    assert sorted(key for _, key in loads) == sorted(
        ["sentinel", *(subject.subject_id for subject in job.plan.subjects)]
    )
    assert runs == []


def test_the_sample_of_a_block_in_turn_is_the_mean_of_its_runs_without_strays(
    collecting_engine: Engine, store: JobStore
) -> None:
    passes_ns = (5, 1, 1, 1.2, 9)  # the first is not timed
    durations_ns = [duration_ns for duration_ns in passes_ns for _ in range(PROTOCOL.sentinel_every)]
    assert len(passes_ns) == 1 + PROTOCOL.num_passes
    with stand_in_page(collecting_engine) as page:
        job = measured_job(page, store, num_blocks=1, durationsNs=durations_ns)
    samples = [sample for item in store.received(job) for sample in item.portion.samples]
    assert [sample.raw_ms for sample in samples] == pytest.approx([3.2 / 3 * 1e-6] * PROTOCOL.min_rounds)
