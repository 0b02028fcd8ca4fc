import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from profilers.backends.exact import ExactBackend, exact_latency_ms
from profilers.campaign import run_campaign
from profilers.device import Device
from profilers.estimate import EstimateOptions, estimate
from profilers.estimate_report import print_report
from profilers.latency_table import LatencyTable
from profilers.pipeline_cost import pipeline_cost
from profilers.protocol import Protocol
from profilers.subject import Subject
from search_space.errors import UsageError
from search_space.space import random_arch, reachable_specs
from search_space.spaces import search_space
from search_space.specs import ResidualSpec
from search_space.walk import block_specs
from tests.profilers.corrections import one_scale
from tests.profilers.exact_blocks import exact_blocks

ARCH = random_arch(search_space("tiny"), 1)
RESIDUAL = next(spec for spec in block_specs(ARCH) if isinstance(spec, ResidualSpec))


@pytest.fixture
def arguments(tmp_path: Path, sqlite_engine: Engine, quick_protocol: Protocol) -> dict[str, Any]:
    """One architecture, and the table of its blocks and of some residual blocks."""
    others = [spec for spec in reachable_specs(search_space("tiny")) if isinstance(spec, ResidualSpec)]
    subjects = [Subject.of_block(spec) for spec in {*block_specs(ARCH), *others[:24]}]
    run_campaign(subjects, ExactBackend(), LatencyTable(sqlite_engine), protocol=quick_protocol)
    path = tmp_path / "arch.json"
    path.write_text(ARCH.to_json())
    return {"arch": str(path), "device": "exact", "storage": str(sqlite_engine.url)}


def test_the_document_adds_up(arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    estimate(EstimateOptions(**arguments, steps=4, guidance=True, decoder_ms=7.0, json=True))
    document = json.loads(capsys.readouterr().out)
    expected_ms = math.fsum(map(exact_latency_ms, block_specs(ARCH)))
    assert document["arch_id"] == ARCH.arch_id
    assert document["latency_ms"] == pytest.approx(expected_ms)
    assert sum(kind["latency_ms"] for kind in document["kinds"]) == pytest.approx(expected_ms)
    assert sum(kind["num_blocks"] for kind in document["kinds"]) == len(document["blocks"])
    assert document["picture"]["latency_ms"] == pytest.approx(8 * expected_ms + 7)
    assert document["picture"]["missing"] == ["text encoder"]
    assert document["labels"] == ["formula, never measured"]


def test_people_read_kinds_interval_and_picture(
    arguments: dict[str, Any], sqlite_engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    LatencyTable(sqlite_engine).set_correction(ExactBackend().device, one_scale(1.1))
    estimate(EstimateOptions(**arguments))
    printed = capsys.readouterr().out
    for needed in (
        "residual",
        "95 % interval",
        "a picture:",
        "fitted on 30 whole networks",
        "text encoder and decoder",
    ):
        assert needed in printed


def test_a_guessed_block_is_flagged_and_widens_the_interval(
    arguments: dict[str, Any], sqlite_engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    LatencyTable(sqlite_engine).forget(ExactBackend().device, [Subject.of_block(RESIDUAL)])
    with pytest.raises(UsageError, match="no latency of"):
        estimate(EstimateOptions(**arguments))
    estimate(EstimateOptions(**arguments, interpolate=True, json=True))
    document = json.loads(capsys.readouterr().out)
    assert [json.loads(guess["spec"])["kind"] for guess in document["interpolated"]] == ["residual"]
    assert document["interpolated"][0]["error_percent"] > 0
    assert "1 distinct blocks interpolated" in document["labels"][1]
    assert any(block["is_interpolated"] for block in document["blocks"])
    assert document["low_ms"] < document["latency_ms"] < document["high_ms"]


def test_a_device_of_the_table_is_found_by_its_id(
    arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    estimate(EstimateOptions(**{**arguments, "device": ExactBackend().device.device_id}, json=True))
    assert json.loads(capsys.readouterr().out)["device"] == "exact"


def test_a_device_is_printed_as_it_is_called(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    found = exact_blocks(block_specs(ARCH)).estimate(ARCH)
    cost = pipeline_cost(found, num_steps=28, uses_guidance=False, text_encoder_ms=None, decoder_ms=None)
    print_report(ARCH, dataclasses.replace(device, name="x[/b]"), found, cost)
    assert "on x[/b] (" in capsys.readouterr().out


def test_a_formula_never_measures_not_even_a_whole_network(
    arguments: dict[str, Any],
    sqlite_engine: Engine,
    quick_protocol: Protocol,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_campaign([Subject.of_network(ARCH)], ExactBackend(), LatencyTable(sqlite_engine), protocol=quick_protocol)
    estimate(EstimateOptions(**arguments, json=True))
    parts = json.loads(capsys.readouterr().out)["picture"]["parts"]
    assert [part["source"] for part in parts] == ["estimated"]


def test_a_device_that_nobody_knows_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="unknown device"):
        estimate(EstimateOptions(**{**arguments, "device": "exakt"}))


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"decoder_ms": -1.0}, {"text_encoder_ms": float("nan")}])
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        EstimateOptions(arch="sd15", **wrong)
