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

from profilers.collecting.headless_chromium import ChromiumPage
from tests.profilers.collecting.conftest import HAS_CHROMIUM, HAS_RUNTIME

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (HAS_CHROMIUM and HAS_RUNTIME), reason="needs chromium and scripts/install_browser_runtime"),
]
STATUS = "document.getElementById('status').textContent"


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


def start(page: ChromiumPage, *, before: str = "") -> None:
    """Taps Start as soon as it can be, after some JavaScript."""
    for _ in range(100):
        if page.evaluate("document.getElementById('start')?.disabled === false"):
            break
        time.sleep(0.1)
    page.evaluate(f"{before}; document.getElementById('start').click()")


def wait_for(page: ChromiumPage, pattern: str) -> str:
    """Waits until the page's status says this."""
    for _ in range(900):
        status = str(page.evaluate(STATUS))
        if re.search(pattern, status):
            return status
        time.sleep(0.1)
    raise AssertionError(f"{status!r} instead of {pattern!r}")


def wait_until_still(page: ChromiumPage) -> str:
    """Waits until the page's status stays the same for two seconds, which hold many rounds."""
    for _ in range(15):
        status = str(page.evaluate(STATUS))
        time.sleep(2)
        if page.evaluate(STATUS) == status:
            return status
    raise AssertionError(f"{status!r} is not the last word")


BREAKS_ONCE = """
const count = {worker: 0, claim: 0, models: 0, portions: 0};
const real = {Worker, fetch: fetch.bind(self)};
self.Worker = class extends real.Worker {
  constructor(url, options) { super(count.worker++ ? url : "/missing.js", options); }
};
self.fetch = async (path, options) => {
  if (path === "/api/portions" && !count.portions++) return real.fetch(path, {...options, body: "{}"});
  if (path.startsWith("/api/models/") && !count.models++) return new Response('{"error": "x"}', {status: 500});
  if (path === "/api/claim") count.claim++;
  return real.fetch(path, options);
};
self.count = count;
"""


@pytest.mark.timeout(300)
def test_what_breaks_once_costs_neither_the_link_nor_the_job(tmp_path: Path) -> None:
    """A runtime that does not start, a server that fails, a portion that is refused."""
    with collecting(tmp_path, "--blocks", "1") as (page, outcome):
        start(page, before=BREAKS_ONCE)
        wait_for(page, "stopped: the worker broke$")
        assert page.evaluate("count.claim") == 0
        start(page)
        wait_for(page, "stopped: this browser does not tell which model it runs on")
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
