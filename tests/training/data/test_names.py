"""Command lines may list the data sets without paying for torch."""

import subprocess
import sys


def test_names_prompts_and_layouts_import_no_torch() -> None:
    modules = "training.data.names, training.data.scene_prompts, training.data.scene_layout, training.metrics"
    program = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
