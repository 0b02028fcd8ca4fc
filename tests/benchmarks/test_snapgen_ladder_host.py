"""The ladder's benchmark measures what it says, on networks small enough for a test."""

import dataclasses
import json
import subprocess
import sys

import pytest

from benchmarks.snapgen_ladder_host import Edit, EditResult, LadderOptions, _verdict, measure_edits, snapgen_edits
from profilers.backends.registry import open_backend
from profilers.needed_memory import needed_bytes
from profilers.subject import Subject
from search_space.counts import count
from search_space.errors import SnapNASError, UsageError
from search_space.space import random_arch
from search_space.spaces import search_space

ARCH = random_arch(search_space("tiny"), 0)
EDIT = Edit(title="smaller", before=ARCH, after=dataclasses.replace(ARCH, sample_size=8), published_percent=-50.0)


def test_the_four_edits_are_the_papers_and_start_from_one_another() -> None:
    edits = snapgen_edits(64)
    assert [edit.published_percent for edit in edits] == [-24, pytest.approx(-58.3, abs=0.1), None, -9]
    assert [edit.after for edit in edits[:-1]] == [edit.before for edit in edits[1:]]
    assert {edit.before.sample_size for edit in edits} == {64}
    assert all(count(edit.after).macs < count(edit.before).macs for edit in edits)


@pytest.mark.parametrize(
    "device_name",
    ["exact", pytest.param("host-onnxruntime", marks=pytest.mark.slow)],  # three processes import torch
)
def test_both_networks_of_a_pair_run_in_every_round(device_name: str) -> None:
    (result,) = measure_edits([EDIT], device_name, num_rounds=3)
    assert len(result.before_ms) == len(result.after_ms) == 3
    assert min(*result.before_ms, *result.after_ms) > 0


def test_an_exact_device_gives_an_exact_change() -> None:
    (result,) = measure_edits([EDIT], "exact", num_rounds=3)
    low, high = result.interval_percent
    assert low == pytest.approx(result.change_percent) == pytest.approx(high)
    assert -100 < result.change_percent < 0


def test_a_change_is_the_median_of_ratios_taken_round_by_round() -> None:
    slowing_machine = EditResult(edit=EDIT, before_ms=(10, 20, 40, 80, 160), after_ms=(5, 10, 20, 44, 80))
    assert slowing_machine.change_percent == pytest.approx(-50)
    low, high = slowing_machine.interval_percent
    assert low <= slowing_machine.change_percent <= high


def test_the_command_sets_the_host_beside_the_phone() -> None:
    command = [sys.executable, "-m", "benchmarks.snapgen_ladder_host", "--device", "exact", "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    edits = json.loads(done.stdout)["edits"]
    assert [edit["change_percent"] for edit in edits] == pytest.approx([e["macs_percent"] for e in edits], abs=0.1)
    assert "| one key/value head | " in done.stderr
    assert "1.8 points less is saved here than on the phone." in done.stderr
    assert "the paper gives no latency" in done.stderr


def test_at_the_phones_own_latents_macs_stand_there_once() -> None:
    command = [sys.executable, "-m", "benchmarks.snapgen_ladder_host", "--device", "exact", "--quick"]
    done = subprocess.run([*command, "--latent", "128"], capture_output=True, text=True, check=True)
    assert "| here | macs at 128 | phone |" in done.stderr
    assert "the phone in fp16." in done.stderr


def test_a_pair_that_does_not_fit_is_refused_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = open_backend("host-onnxruntime")
    subjects = [Subject.of_network(arch) for arch in (EDIT.before, EDIT.after)]
    needs = [needed_bytes(subject, backend.footprint) for subject in subjects]
    monkeypatch.setattr(type(backend), "free_bytes", lambda self: max(needs))  # enough for either alone
    with pytest.raises(SnapNASError, match="the two networks of 'smaller' need about") as caught:
        measure_edits([EDIT], "host-onnxruntime", num_rounds=2)
    assert len(str(caught.value).splitlines()) == 3


def test_an_edit_that_costs_time_is_called_so() -> None:
    slower = EditResult(edit=EDIT, before_ms=(10, 10, 10), after_ms=(11, 11, 11))
    assert _verdict(slower) == "- smaller: 60.0 points less is saved here than on the phone, and the edit costs time."


def test_a_page_that_could_not_be_written_is_refused_before_anything_is_measured() -> None:
    with pytest.raises(UsageError, match="--out nowhere/page.md"):
        LadderOptions(out="nowhere/page.md")


def test_a_latent_that_cannot_be_halved_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="multiple of 4"):
        LadderOptions(latent=30)
