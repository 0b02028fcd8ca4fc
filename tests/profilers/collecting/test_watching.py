"""Which page's end is the command's end."""

import queue

import pytest

from profilers.collecting import watching
from profilers.collecting.application import Report
from profilers.collecting.watching import watch_pages

OWN, EARLIER, ANOTHER = "own", "earlier", "another"


def reports_of(*steps: tuple[str, int]) -> "queue.SimpleQueue[Report]":
    """Jobs, and how many of ten samples they have, in the order in which their pages tell."""
    reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
    for job_id, num_done in steps:
        reports.put(Report(job_id=job_id, device=f"browser-{job_id}", num_done=num_done, num_total=10))
    return reports


def test_the_own_job_is_followed_to_its_end() -> None:
    reports = reports_of((OWN, 0), (OWN, 5), (OWN, 10))
    assert watch_pages(reports, OWN) == OWN
    assert reports.empty()


def test_a_job_of_an_earlier_command_that_goes_on_is_followed_until_the_own_one_is_opened() -> None:
    assert watch_pages(reports_of((EARLIER, 4), (EARLIER, 10)), OWN) == EARLIER
    reports = reports_of((EARLIER, 4), (OWN, 0), (EARLIER, 10), (OWN, 10))
    assert watch_pages(reports, OWN) == OWN
    assert reports.empty()


def test_a_page_that_was_done_before_ends_nothing() -> None:
    reports = reports_of((EARLIER, 10), (OWN, 0), (OWN, 10))
    assert watch_pages(reports, OWN) == OWN
    assert reports.empty()


def test_a_page_in_the_middle_of_its_job_keeps_its_server() -> None:
    reports = reports_of((OWN, 0), (ANOTHER, 0), (OWN, 10), (ANOTHER, 5), (ANOTHER, 10))
    assert watch_pages(reports, OWN) == OWN
    assert reports.empty()


def test_a_page_that_was_closed_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MAX_SILENCE_S", 0.01)
    assert watch_pages(reports_of((EARLIER, 1), (OWN, 0), (OWN, 10)), OWN) == OWN


def test_every_phone_has_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    watch_pages(reports_of((EARLIER, 4), (OWN, 0), (OWN, 10), (EARLIER, 10)), OWN)
    lines = capsys.readouterr().err.splitlines()
    assert "collecting from browser-earlier:  40 % (4/10 sample), started" in lines
    assert "collecting from browser-own:   0 % (0/10 sample), started" in lines
    assert sum("100 % (10/10 sample), done" in line for line in lines) == 2
