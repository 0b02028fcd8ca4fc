"""The dashboard in a real browser: live, zoom kept, a click away from an architecture, and nothing from elsewhere."""

import shutil
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from dashboard import ids
from search_space.walk import walk
from studies.results import StudyReader
from tests.studies.sample_study import STUDY, SampleStudy, sample_arch

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TIMEOUT_MS = 30_000
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium")

NUM_POINTS = """() => {
    const graph = document.querySelector('#pareto .js-plotly-plot');
    if (!graph || !graph._fullData) return 0;
    return graph._fullData.filter(trace => trace.customdata).reduce((sum, trace) => sum + trace.x.length, 0);
}"""
X_RANGE = "() => document.querySelector('#pareto .js-plotly-plot')._fullLayout.xaxis.range.slice()"
POINT_POSITION = """number => {
    const graph = document.querySelector('#pareto .js-plotly-plot');
    const {xaxis, yaxis, _size} = graph._fullLayout;
    const box = graph.getBoundingClientRect();
    for (const trace of graph._fullData.filter(trace => trace.customdata)) {
        const index = Array.from(trace.customdata).indexOf(number);
        if (index >= 0) return [box.left + _size.l + xaxis.d2p(trace.x[index]),
                                box.top + _size.t + yaxis.d2p(trace.y[index])];
    }
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A page that must stay without errors and may ask nobody but the dashboard."""
    complaints: list[str] = []
    hosts: set[str] = set()
    page = browser.new_page(viewport={"width": 1500, "height": 950})
    page.set_default_timeout(TIMEOUT_MS)
    page.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    yield page
    page.close()
    assert complaints == []
    assert hosts - {""} <= {urlsplit(address).netloc}  # data: and blob: have none


def _wait_for(page: Page, expression: str, expected: Any) -> None:
    """Asks until the answer is right; `wait_for_function` would need `eval`, which the page's policy forbids."""
    end_s = time.monotonic() + TIMEOUT_MS / 1000
    while (found := page.evaluate(expression)) != expected:
        assert time.monotonic() < end_s, f"{expression} is {found}, not {expected}"
        page.wait_for_timeout(100)


def _num_drawn(study: SampleStudy) -> int:
    counts = StudyReader(study.engine).study(STUDY).num_trials_by_state
    return counts["complete"] + counts["infeasible"]


def _zoom_in(page: Page) -> None:
    """Drags a box over the middle of the front."""
    box = page.locator(f"#{ids.PARETO} .nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.8 * box["height"], steps=5)
    page.mouse.up()


def test_a_new_trial_appears_and_the_zoom_stays(page: Page, address: str, filled_study: SampleStudy) -> None:
    page.goto(address)
    num_points = _num_drawn(filled_study)
    _wait_for(page, NUM_POINTS, num_points)
    before = page.evaluate(X_RANGE)
    _zoom_in(page)
    _wait_for(page, f"({X_RANGE})()[1] < {before[1]}", True)
    zoomed = page.evaluate(X_RANGE)
    filled_study.add_trial(25)
    _wait_for(page, NUM_POINTS, num_points + 1)
    assert page.evaluate(X_RANGE) == zoomed
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()


def test_a_click_opens_an_architecture(page: Page, address: str, filled_study: SampleStudy) -> None:
    page.goto(address)
    _wait_for(page, NUM_POINTS, _num_drawn(filled_study))
    best = StudyReader(filled_study.engine).study(STUDY).best
    assert best is not None
    page.mouse.click(*page.evaluate(POINT_POSITION, best.number))
    trial = page.locator(f"#{ids.TRIAL}")
    expect(trial.get_by_role("heading", name=f"Trial {best.number}")).to_be_visible()
    expect(trial).to_contain_text(str(best.arch_id))
    assert page.url.endswith(f"?study={STUDY}&trial={best.number}")
    expect(page.locator(f"#{ids.BREAKDOWN} .barlayer .point")).to_have_count(len(walk(sample_arch(best.number))))
    _wait_for(page, "document.querySelector('.pictures img').naturalWidth", 320)
    with page.expect_download() as download:
        page.locator(f"#{ids.EXPORT}").click()
    assert download.value.suggested_filename == f"arch-{best.arch_id}.json"


def test_text_of_the_database_stays_text(page: Page, address: str, filled_study: SampleStudy) -> None:
    failed = next(trial for trial in StudyReader(filled_study.engine).trials(STUDY) if trial.failure is not None)
    page.goto(f"{address}/?study={STUDY}&trial={failed.number}")
    expect(page.locator(f"#{ids.TRIAL}")).to_contain_text("ValueError: <img src=x onerror=alert(1)>")


def test_unknown_addresses_are_explained(page: Page, address: str) -> None:
    for search in ("?study=nonsense", f"?study={STUDY}&trial=999999", "?trial=%00&study=%3Cscript%3E"):
        page.goto(f"{address}/{search}")
        expect(page.locator(".warning").first).to_be_visible()
        expect(page.locator(f"#{ids.STUDIES}")).to_contain_text(STUDY)
