"""How the page measures what it is asked for, and what it does about models that break its runtime."""

import pytest
from sqlalchemy import Engine

from profilers.collecting.headless_chromium import ChromiumPage
from profilers.collecting.jobs import Job, JobStore
from tests.profilers.collecting.conftest import HAS_CHROMIUM, HAS_RUNTIME
from tests.profilers.collecting.driven_page import follow, stand_in_page, start, wait_for

pytestmark = pytest.mark.skipif(
    not (HAS_CHROMIUM and HAS_RUNTIME), reason="needs chromium and scripts/install_browser_runtime"
)


def measured_job(page: ChromiumPage, store: JobStore, *, num_blocks: int, **settings: object) -> Job:
    """A new job, measured to its end by the page whose runner has these settings."""
    opened, token = store.create(space="tiny", device_name="browser-test", max_blocks=num_blocks)
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
