"""`python -m profilers.calibrate` as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path


def test_the_command_prints_every_figure_with_its_left_out_error(tmp_path: Path) -> None:
    page_path = tmp_path / "page.md"
    command = [sys.executable, "-m", "profilers.calibrate", "--json", "--out", str(page_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout)["figures"]
    assert len(figures) == 11
    assert all(abs(figure["model_error_percent"]) < 3 for figure in figures)
    assert "| SnapGen UNet, 1024 px | iphone-16-pro-max | 274 ms | 274 ms |" in done.stderr
    assert "estimates, never measured here" in done.stderr
    assert done.stderr.strip() in page_path.read_text()
