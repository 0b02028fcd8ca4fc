"""The distillation proxy."""

import dataclasses

import pytest

from proxies.config import DistillationProxyConfig
from proxies.distillation import DistillationProxy
from proxies.open_proxy import open_proxy
from search_space.errors import UsageError
from tests.training.small import PlainColours, make_arch, make_model
from training.config import SpaceToDepthConfig, TextEncoderConfig, TrainingConfig

CONFIG = DistillationProxyConfig(
    training=TrainingConfig(num_steps=6, batch_size=4, warm_up_steps=1),
    text_encoder=TextEncoderConfig(num_buckets=64, head_dim=8),
    num_held_out_images=16,
    report_every_steps=4,
    num_report_images=8,
)


def _proxy(config: DistillationProxyConfig = CONFIG) -> DistillationProxy:
    return DistillationProxy(config, data=PlainColours(), codec=SpaceToDepthConfig(), teacher=None)


def test_a_longer_training_scores_better() -> None:
    training = dataclasses.replace(CONFIG.training, num_steps=30, learning_rate=5e-3)
    longer = _proxy(dataclasses.replace(CONFIG, training=training))
    assert longer.score(make_arch(), seed=0).value < _proxy().score(make_arch(), seed=0).value


def test_it_reports_as_it_goes() -> None:
    assert [step for step, _ in _proxy().score(make_arch(), seed=0).intermediate] == [4, 6]


def test_the_seed_matters() -> None:
    assert _proxy().score(make_arch(), seed=0).value != _proxy().score(make_arch(), seed=1).value


def test_the_price_grows_with_the_architecture_and_the_steps() -> None:
    small, large = _proxy().score_macs(make_arch((8, 16))), _proxy().score_macs(make_arch((16, 32)))
    longer = dataclasses.replace(CONFIG, training=dataclasses.replace(CONFIG.training, num_steps=12))
    assert 0 < small < large
    assert _proxy(longer).score_macs(make_arch((8, 16))) == 2 * small


def test_what_it_needs_is_named() -> None:
    with pytest.raises(UsageError, match="without data"):
        open_proxy("distillation", teacher=make_model())
    with pytest.raises(UsageError, match="without a teacher"):
        open_proxy("distillation", data=PlainColours())
    with pytest.raises(UsageError, match="max_duration_s"):
        DistillationProxyConfig(training=TrainingConfig(max_duration_s=1.0))
