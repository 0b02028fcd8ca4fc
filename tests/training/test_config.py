"""Training settings: checked, and equal as text when they are equal."""

import subprocess
import sys

import pytest

from search_space.errors import UsageError
from training.config import DistillationConfig, SamplingConfig, TextEncoderConfig, TrainingConfig, config_to_json


def test_equal_configs_give_equal_text() -> None:
    assert config_to_json(TrainingConfig()) == config_to_json(TrainingConfig())
    assert config_to_json(TrainingConfig()) != config_to_json(TrainingConfig(seed=1))
    assert '"output_weight":2.0' in config_to_json(TrainingConfig(distillation=DistillationConfig(output_weight=2.0)))


@pytest.mark.parametrize(
    ("config_class", "field", "value"),
    [
        (TrainingConfig, "num_steps", 0),
        (TrainingConfig, "batch_size", 0),
        (TrainingConfig, "learning_rate", float("nan")),
        (TrainingConfig, "ema_decay", 1.0),
        (TrainingConfig, "precision", "fp16"),
        (TrainingConfig, "max_duration_s", 0.0),
        (TextEncoderConfig, "num_buckets", 0),
        (DistillationConfig, "output_weight", -1.0),
        (DistillationConfig, "until_fraction", 1.5),
        (SamplingConfig, "steps", 0),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(config_class: type, field: str, value: object) -> None:
    with pytest.raises(UsageError, match=field):
        config_class(**{field: value})


def test_describing_files_import_no_torch() -> None:
    code = "import sys, training.config, training.presets, proxies.config, proxies.base, proxies.open_proxy"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True)
