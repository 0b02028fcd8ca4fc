"""The benchmark of repeated campaigns says how far medians stray, and keeps what is finished."""

import dataclasses
from pathlib import Path

import pytest

from benchmarks.repeat_campaign import Campaign, RepeatOptions, measure_campaigns, worst_deviations_percent
from profilers.backends.registry import open_backend
from search_space.errors import UsageError


def test_a_network_strays_as_far_as_its_worst_campaign() -> None:
    medians_ms = [(10.0, 1.0), (10.2, 1.0), (9.5, 1.0)]
    campaigns = [Campaign(finished_at=0.0, noise_floor_percent=0.0, medians_ms=medians) for medians in medians_ms]
    assert worst_deviations_percent(campaigns) == pytest.approx([5.0, 0.0])


def test_finished_campaigns_are_kept_and_an_exact_device_repeats_exactly(tmp_path: Path) -> None:
    two = RepeatOptions(campaigns=2, networks=2, device="exact", pause_s=0.0, folder=tmp_path)
    device = open_backend("exact").device
    first = measure_campaigns(two, device)
    more = measure_campaigns(dataclasses.replace(two, campaigns=3), device)
    assert more[:2] == first
    assert worst_deviations_percent(more) == pytest.approx([0.0, 0.0])


def test_campaigns_by_other_rules_do_not_mix(tmp_path: Path) -> None:
    options = RepeatOptions(campaigns=2, networks=2, device="exact", pause_s=0.0, folder=tmp_path)
    device = open_backend("exact").device
    measure_campaigns(options, device)
    (path,) = tmp_path.glob("*.json")
    path.write_text(path.read_text().replace('"sentinel_every": 16', '"sentinel_every": 4'))
    with pytest.raises(UsageError, match="other rules"):
        measure_campaigns(options, device)


@pytest.mark.parametrize("wrong", [{"campaigns": 1}, {"networks": 0}, {"pause_s": -1.0}, {"pause_s": float("nan")}])
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        RepeatOptions(**wrong)  # type: ignore[arg-type]
