"""`python -m profilers.calibrate` as a user runs it."""

import json
import subprocess
import sys


def test_the_command_prints_every_figure_with_its_left_out_error() -> None:
    command = [sys.executable, "-m", "profilers.calibrate", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout)["figures"]
    assert len(figures) == 11
    assert all(abs(figure["model_error_percent"]) < 3 for figure in figures)
    assert "| SnapGen UNet, 1024 px | iphone-16-pro-max | 274 ms | 274 ms |" in done.stderr
    assert "estimates, never measured here" in done.stderr
