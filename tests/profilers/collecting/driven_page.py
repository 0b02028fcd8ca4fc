"""A page that a test drives: its buttons, and a stand-in for its runner that needs no runtime."""

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Engine

from profilers.collecting.application import CollectingApplication
from profilers.collecting.headless_chromium import ChromiumError, ChromiumPage
from profilers.collecting.http_server import Request, Response, serving
from profilers.collecting.jobs import JobStore
from profilers.collecting.models import ModelFolder
from profilers.collecting.plan import Plan
from profilers.latency_table import LatencyTable

STATUS = "document.getElementById('status')?.textContent"

RUNNER = """
// A run takes a nanosecond, or the `durationsNs` in turn. The first `numToBreak` models break it; it may also be stuck.
const calls = (globalThis.calls = []); // of this page, which reloads where it is broken
const broken = () => JSON.parse(localStorage.getItem("broken") ?? "[]");
const numToBreak = () => Number(localStorage.getItem("numToBreak"));

export class Runner {
  timesSingleRuns = localStorage.getItem("clock") !== "coarse";
  #isBroken = false;
  #numRuns = 0;

  static async open() {
    calls.push(["open"]);
    return new Runner();
  }

  async load(slot) {
    calls.push(["load", slot]);
    if (slot !== "sentinel" && !broken().includes(slot) && broken().length < numToBreak()) {
      localStorage.setItem("broken", JSON.stringify([...broken(), slot]));
    }
    this.#isBroken ||= numToBreak() > 0 && broken().includes(slot);
    this.#check();
  }

  async warmUp() {
    while (localStorage.getItem("isStuck")) await new Promise((later) => setTimeout(later, 50));
    return 1;
  }

  async run(slot) {
    this.#check();
    calls.push(["run", slot]);
    const durationsNs = JSON.parse(localStorage.getItem("durationsNs") ?? "[1]");
    return durationsNs[this.#numRuns++ % durationsNs.length] / 1e9;
  }

  async sample(slot) {
    this.#check();
    calls.push(["sample", slot]);
    return { rawMs: 1e-6, startMs: performance.now() };
  }

  async drop() {}

  close() {
    calls.push(["close"]);
  }

  #check() {
    if (this.#isBroken) throw new Error("out of memory");
  }
}
"""


class NoModels(ModelFolder):
    """Models that nobody looks into."""

    def __init__(self) -> None:
        super().__init__(Path())

    def model(self, plan: Plan, key: str) -> bytes:
        return b"a model"


@contextlib.contextmanager
def stand_in_page(engine: Engine) -> Iterator[ChromiumPage]:
    """The page on an origin of its own, with the stand-in for its runner."""
    application = CollectingApplication(
        JobStore(engine), LatencyTable(engine), NoModels(), on_progress=lambda report: None
    )

    def respond(request: Request) -> Response:
        if request.path == "/runner.js":
            return Response(status=200, content=RUNNER.encode(), content_type="text/javascript")
        return application(request)

    with serving(respond, address="127.0.0.1", port=0) as port:
        page = ChromiumPage(f"http://127.0.0.1:{port}/", flags=("--disable-popup-blocking",))
        wait_for(page, "Open the whole link")
        yield page


def peek(page: ChromiumPage, expression: str) -> object:
    """What an expression is; None while the page is loaded anew."""
    try:
        return page.evaluate(expression)
    except ChromiumError:
        return None


def follow(page: ChromiumPage, token: str) -> None:
    """Opens the link of a token in the page's tab."""
    page.evaluate(f"location.hash = '{token}'; void setTimeout(() => location.reload(), 100)")


def start(page: ChromiumPage, *, before: str = "") -> None:
    """Taps Start as soon as it can be, after some JavaScript."""
    for _ in range(100):
        if peek(page, "document.getElementById('start')?.disabled === false"):
            break
        time.sleep(0.1)
    page.evaluate(f"{before}; document.getElementById('start').click()")


def wait_for(page: ChromiumPage, pattern: str, *, of: str = STATUS) -> str:
    """Waits until the page's status, or another text, says this."""
    for _ in range(900):
        status = str(peek(page, of))
        if re.search(pattern, status):
            return status
        time.sleep(0.1)
    raise AssertionError(f"{status!r} instead of {pattern!r}")
