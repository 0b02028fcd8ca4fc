"""How far the pages are that measure, on the terminal, and when the command that serves them may end.

A server serves every job of its workspace: the one that its command opened, and earlier ones, whose pages go on when
they are reloaded. A page that loads or measures large networks says nothing for minutes, and one that was closed never
says anything again; nobody tells which it is.
"""

import contextlib
import math
import queue
import time
from collections.abc import Mapping
from dataclasses import dataclass

from profilers.collecting.application import Report
from search_space.progress import AbstractBar, progress

MAX_SILENCE_S = 30 * 60.0
"""A page that has said nothing for so long is taken for closed, once the job is complete that the command is for."""


@dataclass(kw_only=True)
class _Page:
    """A page that was heard of while it had something left to measure."""

    report: Report
    """Its last one."""
    heard_s: float
    """When that came, by the monotonic clock."""
    bar: AbstractBar
    """How far it is."""


def watch_pages(reports: "queue.SimpleQueue[Report]", own_id: str) -> str:
    """Shows every page that is at work, and returns the job that the command was for when that and all others are done.

    It was for its own job; as long as no page has opened that, for the first earlier job that a page went on with.

    Args:
        reports: What the application says of all jobs.
        own_id: The job that the command opened.
    """
    pages: dict[str, _Page] = {}
    with contextlib.ExitStack() as bars:
        while True:
            try:
                report = reports.get(timeout=_patience_s(pages, own_id))
            except queue.Empty:
                return _awaited(pages, own_id).report.job_id
            page = pages.get(report.job_id)
            if page is not None:
                page.bar.advance(report.num_done - page.report.num_done)
                page.report, page.heard_s = report, time.monotonic()
            elif not report.is_complete:  # or else a page that lost its last answer asks once more, and is done
                title = f"collecting from {report.device}"
                bar = progress(title, total=report.num_total, unit="sample", completed=report.num_done)
                pages[report.job_id] = _Page(report=report, heard_s=time.monotonic(), bar=bars.enter_context(bar))


def _patience_s(pages: Mapping[str, _Page], own_id: str) -> float | None:
    """How long the next report may take: for ever, or, with the awaited job done, until the others count as closed."""
    if not pages or not _awaited(pages, own_id).report.is_complete:
        return None
    heard_s = max((page.heard_s for page in pages.values() if not page.report.is_complete), default=-math.inf)
    return max(heard_s + MAX_SILENCE_S - time.monotonic(), 0.0)


def _awaited(pages: Mapping[str, _Page], own_id: str) -> _Page:
    return pages.get(own_id) or next(iter(pages.values()))
