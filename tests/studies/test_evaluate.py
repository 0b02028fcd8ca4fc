"""A trained candidate is drawn beside its score, always the same way; a drawing that fails costs the picture alone."""

import dataclasses
from pathlib import Path

import pytest
from PIL import Image

from proxies.config import DistillationProxyConfig
from studies.config import StudyConfig
from studies.evaluate import Evaluator
from studies.executors.base import Job
from studies.executors.processes import ProcessExecutor
from studies.results import TrialResult
from tests.studies.small_training import small_arch, small_config
from training.config import SamplingConfig, TrainingConfig

SAMPLES = "studies/s/trial-0007/samples.png"


def _evaluator(workspace: Path, **changes: object) -> Evaluator:
    config = small_config()
    proxy = DistillationProxyConfig(
        training=TrainingConfig(num_steps=2, batch_size=4),
        text_encoder=config.teacher.text_encoder,
        num_held_out_images=16,
        num_report_images=16,
    )
    settings: dict[str, object] = {"proxy": proxy, "sampling": SamplingConfig(steps=2)} | changes
    changed: StudyConfig = dataclasses.replace(config, **settings)  # type: ignore[arg-type]
    return Evaluator(config=changed, study_name="s", workspace=workspace)


def test_a_trained_candidate_leaves_the_same_sheet_for_the_same_architecture(tmp_path: Path) -> None:
    first = _evaluator(tmp_path)(small_arch(), 7)
    assert first.artifacts == {"samples": SAMPLES}
    content = (tmp_path / SAMPLES).read_bytes()
    with Image.open(tmp_path / SAMPLES) as sheet:
        assert sheet.width > 8 * 128  # eight pictures in one row
    assert [path.name for path in (tmp_path / SAMPLES).parent.iterdir()] == ["samples.png"]
    second = _evaluator(tmp_path / "again")(small_arch(), 7)
    assert second.proxy_value == first.proxy_value
    assert (tmp_path / "again" / SAMPLES).read_bytes() == content


def test_a_sheet_that_cannot_be_written_costs_nothing_but_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "studies").write_text("a file where the folder should be")
    result = _evaluator(tmp_path)(small_arch(), 7)
    assert result.artifacts == {}
    assert result.proxy_value > 0
    assert "trial 7 has no samples" in caplog.text


def test_without_a_training_there_is_nothing_to_draw(tmp_path: Path) -> None:
    result = _evaluator(tmp_path, proxy=small_config().proxy)(small_arch(), 7)
    assert result.artifacts == {}
    assert list(tmp_path.iterdir()) == []


def test_a_sheet_drawn_by_a_worker_process_lies_in_the_same_workspace(tmp_path: Path) -> None:
    executor = ProcessExecutor(_evaluator(tmp_path), num_workers=1)
    try:
        executor.submit(Job(number=7, arch=small_arch()))
        result = executor.next_outcome().result
    finally:
        executor.close()
    assert isinstance(result, TrialResult)
    assert result.artifacts == {"samples": SAMPLES}
    assert (tmp_path / SAMPLES).is_file()
