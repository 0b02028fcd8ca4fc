"""The page in a real browser: it opens the link like a phone, measures, is reloaded, and what it sent is accepted."""

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from profilers.collecting.headless_chromium import ChromiumPage
from profilers.collecting.jobs import JobStore
from profilers.collecting.secrets_and_limits import new_secret
from tests.profilers.collecting.conftest import HAS_CHROMIUM, HAS_RUNTIME
from tests.profilers.collecting.driven_page import STATUS, follow, stand_in_page, start, wait_for

pytestmark = pytest.mark.skipif(
    not (HAS_CHROMIUM and HAS_RUNTIME), reason="needs chromium and scripts/install_browser_runtime"
)


def collect(folder: Path, *arguments: str) -> list[str]:
    storage = f"sqlite:///{folder / 'collected.db'}"
    return [sys.executable, "-m", "profilers.collect", "--storage", storage, "--json", *arguments]


@contextlib.contextmanager
def collecting(folder: Path, *arguments: str) -> Iterator[tuple[ChromiumPage, Callable[[], dict[str, Any]]]]:
    """The page behind the link of a job, and what waits for the command and gives what it says."""
    command = collect(folder, "--port", "0", *arguments)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            url = next(match[0] for line in process.stderr if (match := re.search(r"http://\S+", line)))
            yield ChromiumPage(url), lambda: json.loads(process.communicate()[0])
        except BaseException:
            process.kill()  # when the test fails half-way, it would otherwise be waited for
            raise
    assert process.returncode == 0


def wait_until_still(page: ChromiumPage) -> str:
    """Waits until the page's status stays the same for two seconds, which hold many rounds."""
    for _ in range(15):
        status = str(page.evaluate(STATUS))
        time.sleep(2)
        if page.evaluate(STATUS) == status:
            return status
    raise AssertionError(f"{status!r} is not the last word")


BREAKS_ONCE = """
const count = {worker: 0, ended: 0, claim: 0, models: 0, portions: 0};
const real = {Worker, fetch: fetch.bind(self)};
self.Worker = class extends real.Worker {
  constructor(url, options) { super(count.worker++ ? url : "/missing.js", options); }
  terminate() { count.ended++; super.terminate(); }
};
self.fetch = async (path, options) => {
  if (path === "/api/portions" && !count.portions++) return real.fetch(path, {...options, body: "{}"});
  if (path.startsWith("/api/models/") && !count.models++) return new Response('{"error": "x"}', {status: 500});
  if (path === "/api/claim") count.claim++;
  return real.fetch(path, options);
};
self.count = count;
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_breaks_once_costs_neither_the_link_nor_the_job(tmp_path: Path) -> None:
    """A runtime that does not start, a server that fails, a portion that is refused."""
    with collecting(tmp_path, "--blocks", "0", "--networks", "1") as (page, outcome):
        start(page, before=BREAKS_ONCE)
        wait_for(page, "stopped: the worker broke$")
        assert page.evaluate("count.claim") == 0
        start(page)
        wait_for(page, "stopped: this browser does not tell which model it runs on")
        assert page.evaluate("count.worker") == page.evaluate("count.ended") == 2, "what cannot go on holds no runtime"
        page.evaluate("document.getElementById('model').value = 'A (test) phone'")
        start(page)
        wait_for(page, "Done")
        counts = page.evaluate("count")
        document = outcome()
    assert (document["status"], document["device"]) == ("complete", "browser-a-test-phone")
    assert counts["portions"] > 1
    assert counts["models"] == 3  # the sentinel twice


HIDING = """
Object.defineProperty(document, "hidden", {{value: {is_hidden}, configurable: true}});
document.dispatchEvent(new Event("visibilitychange"));
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_phone_opens_the_link_and_is_in_the_table_when_accepted(tmp_path: Path) -> None:
    with collecting(tmp_path, "--blocks", "3", "--networks", "1", "--name", "browser-test") as (page, outcome):
        start(page)
        assert "#" not in page.evaluate("location.href"), "the token leaves the address bar"
        wait_for(page, r"[1-9]\d* %")
        page.evaluate(HIDING.format(is_hidden="true"))
        assert "at most" in wait_until_still(page), "nothing is measured while nobody sees the page"
        page.evaluate(HIDING.format(is_hidden="false"))
        page.evaluate("void setTimeout(() => location.reload())")  # a phone that lost the page
        time.sleep(0.5)
        wait_for(page, "Done|stopped")
        assert page.evaluate(STATUS) == "Done, thank you. You can close this page."
        document = outcome()
    assert document["status"] == "complete"
    assert (document["num_blocks"], document["num_networks"]) == (3, 1)
    assert document["num_failed"] == 0

    accepted = subprocess.run(
        collect(tmp_path, "--accept", document["job"]), capture_output=True, text=True, check=True
    )
    assert json.loads(accepted.stdout)["num_measured"] == 4
    listed = subprocess.run(collect(tmp_path, "--list"), capture_output=True, text=True, check=True)
    (job,) = json.loads(listed.stdout)["jobs"]
    assert (job["status"], job["device"]) == ("accepted", "browser-test")


def begin_job(page: ChromiumPage, store: JobStore) -> None:
    """A job that the page has claimed and comes no further with."""
    job, token = store.create(space="tiny", device_name="browser-old", max_blocks=1)
    follow(page, token)
    start(page, before="localStorage.setItem('isStuck', 1)")
    for _ in range(100):
        if store.job(job.job_id).status == "collecting":
            return
        time.sleep(0.1)
    raise AssertionError("the page did not claim its job")


@pytest.mark.parametrize(("button", "device_name"), [("go-on", "browser-old"), ("start", "browser-new")])
def test_a_new_link_asks_before_it_replaces_a_job_that_was_begun(
    collecting_engine: Engine, store: JobStore, button: str, device_name: str
) -> None:
    with stand_in_page(collecting_engine) as page:
        begin_job(page, store)
        _, token = store.create(space="tiny", device_name="browser-new", max_blocks=1)
        follow(page, token)
        wait_for(page, "has begun another job")
        page.evaluate("localStorage.removeItem('isStuck')")
        assert page.evaluate("document.getElementById('go-on').checkVisibility()")
        page.evaluate(f"document.getElementById('{button}').click()")
        wait_for(page, "Done")
        assert not page.evaluate("document.getElementById('go-on').checkVisibility()")
    complete = [job.device_name for job in store.jobs() if job.status == "complete"]
    assert complete == [device_name]


def test_of_two_windows_one_measures_and_the_other_goes_on_when_it_is_done(
    collecting_engine: Engine, store: JobStore
) -> None:
    other_status = STATUS.replace("document", "other.document")
    with stand_in_page(collecting_engine) as page:
        begin_job(page, store)
        page.evaluate("void (globalThis.other = open('/', '', 'width=400,height=400'))")
        wait_for(page, "Another window", of=other_status)
        assert page.evaluate("[document.hidden, other.document.hidden]") == [False, False]
        assert page.evaluate("other.calls") == [], "it has not even opened its runtime"
        page.evaluate("localStorage.removeItem('isStuck')")
        wait_for(page, "Done")
        wait_for(page, "Done", of=other_status)
        assert page.evaluate("other.calls.some(([name]) => name === 'run')") is False, "nothing was left to measure"
    (job,) = store.jobs()
    assert job.status == "complete"


def test_a_claim_that_never_arrived_is_made_again(collecting_engine: Engine, store: JobStore) -> None:
    job, token = store.create(space="tiny", device_name="browser-test", max_blocks=1)
    lost = json.dumps({"token": token, "sessionKey": new_secret(), "provider": "wasm", "threads": 1})
    with stand_in_page(collecting_engine) as page:
        page.evaluate(f"localStorage.setItem('snapnas-session-2', '{lost}')")
        follow(page, token)
        wait_for(page, "stopped: no job is open under this link")
        assert page.evaluate("calls") == [["open"], ["close"]], "what cannot go on holds no runtime"
        start(page)
        wait_for(page, "Done")
    assert store.job(job.job_id).status == "complete"
