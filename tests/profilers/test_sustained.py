import multiprocessing
import os
import tempfile
from pathlib import Path
from typing import Any, Self
from unittest.mock import Mock

import pytest

from profilers.backends.registry import open_backend
from profilers.load_report import LoadReport
from profilers.measure import MeasureOptions
from profilers.protocol import Protocol
from profilers.sustained import SustainedRun, periods_of, run_sustained
from profilers.sustained_report import figure, json_document, write_figure
from profilers.temporary_folder import FullDiskError
from search_space.errors import SnapNASError, StorageError, UsageError
from search_space.space import random_arch
from search_space.spaces import search_space

ARCH = random_arch(search_space("tiny"), 0)


@pytest.fixture(scope="module")
def run() -> SustainedRun:
    """A real network for a moment that counts as several minutes."""
    return run_sustained(ARCH, open_backend("host-onnxruntime"), duration_s=5, period_s=2)


def test_stretches_become_minutes() -> None:
    stretches = [(0.0, [1.0, 1.0]), (30.0, [3.0]), (60.0, [2.0, 2.0, 2.0]), (119.0, [4.0]), (120.0, [9.0])]
    periods = periods_of(stretches, period_s=60)
    assert [period.start_s for period in periods] == [0, 60, 120]
    assert [period.median_ms for period in periods] == [1.0, 2.0, 9.0]
    assert [period.num_samples for period in periods] == [3, 4, 1]
    assert all(period.low_ms <= period.median_ms <= period.high_ms for period in periods)


def test_a_network_runs_without_a_pause(run: SustainedRun) -> None:
    assert [period.start_s for period in run.periods] == [0, 2, 4]
    assert all(period.num_samples > 10 and period.median_ms > 0 for period in run.periods)
    assert json_document(run)["drift_percent"] == pytest.approx(
        100 * (run.periods[-1].median_ms / run.periods[0].median_ms - 1)
    )


class SlowWorker:
    """Stands in for a measuring process whose network takes 15 s, on a clock that only its runs move."""

    now_s = 0.0

    def __init__(self, _device_name: str, *, time_limit_s: float) -> None:
        self.time_limit_s = time_limit_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        pass

    def load(self, _subject: Any, *, slot: int, path: Path) -> tuple[int, LoadReport]:
        return 1, LoadReport(load_ms=1, first_run_ms=15_000, peak_memory_mib=None, placement=None)

    def sustain(self, _slot: int, *, num_runs: int, duration_s: float) -> list[float]:
        assert self.time_limit_s == Protocol.loading_limit_s
        SlowWorker.now_s += 15
        return [15_000.0]


def test_a_slow_network_runs_for_the_minutes_that_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_all = Mock(return_value=[])
    monkeypatch.setattr("profilers.sustained.prepare_all", prepare_all)
    monkeypatch.setattr("profilers.sustained.Worker", SlowWorker)
    monkeypatch.setattr("profilers.sustained.time", Mock(monotonic=lambda: SlowWorker.now_s))
    run = run_sustained(ARCH, open_backend("host-onnxruntime"), duration_s=120)
    assert SlowWorker.now_s == 120
    assert [period.start_s for period in run.periods] == [0, 60]
    assert [period.num_samples for period in run.periods] == [4, 4]
    assert prepare_all.call_args.kwargs["time_limit_s"] == Protocol.preparing_limit_s


def test_what_a_killed_run_had_exported_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("profilers.sustained.prepare_all", Mock(side_effect=lambda *_, **__: os._exit(9)))
    context = multiprocessing.get_context("fork")
    killed = context.Process(
        target=run_sustained, args=(ARCH, open_backend("host-onnxruntime")), kwargs={"duration_s": 1}
    )
    killed.start()
    killed.join()
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr("profilers.sustained.prepare_all", Mock(side_effect=FullDiskError.at(tmp_path)))
    with pytest.raises(FullDiskError, match="nothing that was measured is lost"):
        run_sustained(ARCH, open_backend("host-onnxruntime"), duration_s=1)
    assert list(tmp_path.iterdir()) == []


def test_the_figure_shows_every_median_and_needs_no_network(run: SustainedRun, tmp_path: Path) -> None:
    band, medians = figure(run).data
    assert list(medians.y) == [period.median_ms for period in run.periods]
    assert len(band.y) == 2 * len(run.periods)
    write_figure(run, tmp_path / "folder" / "figure.html")
    page = (tmp_path / "folder" / "figure.html").read_text()
    assert 'src="http' not in page
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        write_figure(run, tmp_path / "file" / "figure.html")


def test_a_formula_does_not_become_warm() -> None:
    with pytest.raises(SnapNASError, match="formula"):
        run_sustained(ARCH, open_backend("exact"), duration_s=1)


@pytest.mark.parametrize("options", [{"sustained": "10m"}, {"arch": "sd15"}, {"figure": "x.html"}])
def test_options_that_need_each_other_are_asked_for(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="--sustained"):
        MeasureOptions(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"again": True}, "--again"),
        ({"max_rounds": 100}, "--max-rounds"),
        ({"space": "mid"}, "--space"),
        ({"storage": "sqlite:///x.db"}, "--storage"),
        ({"space": "mid", "budget": "10m"}, "--space, --budget"),
    ],
)
def test_what_says_how_a_space_is_measured_is_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=f"--sustained was given with {named}\n") as caught:
        MeasureOptions(sustained="10m", arch="sd15", **options)
    assert len(str(caught.value).splitlines()) == 3
