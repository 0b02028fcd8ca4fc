import json
import os
from pathlib import Path

import pytest

from profilers.environment import record_environment


def test_record_is_strict_json_with_what_moves_a_measurement() -> None:
    document = json.loads(record_environment().to_json(), parse_constant=lambda name: 1 / 0)
    assert document["load_average"] >= 0
    assert document["context_switches"] > 0
    assert document["steal_s"] >= 0
    assert {"python", "torch", "onnxruntime"} <= set(document["versions"])


def test_where_no_sensor_is_shown_nobody_knows_whether_it_was_too_hot() -> None:
    environment = record_environment()
    assert (environment.is_throttled is None) == (environment.sensors == ())


def test_the_record_says_what_every_graphics_card_was_doing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    lines = ("NVIDIA H200, 580.65.06, 34, 1980, 700.00", "NVIDIA L4, 580.65.06, 41, 210, [N/A]")
    program.write_text("\n".join(["#!/bin/sh", *(f"echo '{line}'" for line in lines)]))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert record_environment().cards == lines
    program.write_text("#!/bin/sh\nexit 9\n")
    assert record_environment().cards == ()
