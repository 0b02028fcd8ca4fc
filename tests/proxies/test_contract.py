"""What every proxy promises, checked on every proxy."""

import math

import pytest

from proxies.base import AbstractProxy
from proxies.config import PROXY_CONFIGS, DistillationProxyConfig, proxy_config
from proxies.open_proxy import open_proxy
from search_space.errors import UsageError
from tests.training.small import PlainColours, make_arch, make_model
from training.config import DistillationConfig, TextEncoderConfig, TrainingConfig

SMALL = DistillationProxyConfig(
    training=TrainingConfig(num_steps=6, batch_size=4, warm_up_steps=1, distillation=DistillationConfig()),
    text_encoder=TextEncoderConfig(num_buckets=64, head_dim=8),
    num_held_out_images=16,
    report_every_steps=2,
    num_report_images=8,
)


def _open(name: str) -> AbstractProxy:
    config = SMALL if name == "distillation" else name
    return open_proxy(config, data=PlainColours(), teacher=make_model(make_arch((24, 32)), seed=1).eval())


@pytest.fixture(params=sorted(PROXY_CONFIGS))
def proxy(request: pytest.FixtureRequest) -> AbstractProxy:
    return _open(request.param)


def test_it_says_what_it_is(proxy: AbstractProxy) -> None:
    assert PROXY_CONFIGS[proxy.name].name == proxy.name
    assert proxy.direction in ("minimize", "maximize")
    assert proxy.unit


def test_scores_are_finite_and_repeat(proxy: AbstractProxy) -> None:
    first, second = (proxy.score(make_arch(), seed=0) for _ in range(2))
    fresh = _open(proxy.name).score(make_arch(), seed=0)
    assert math.isfinite(first.value)
    assert all(math.isfinite(value) for value in first.details.values())
    assert first.value == second.value == fresh.value
    assert first.intermediate == second.intermediate


def test_architectures_get_different_scores(proxy: AbstractProxy) -> None:
    assert proxy.score(make_arch((16, 32)), seed=0).value != proxy.score(make_arch((8, 16)), seed=0).value


def test_reports_are_what_the_score_remembers(proxy: AbstractProxy) -> None:
    reports: list[tuple[int, float]] = []
    score = proxy.score(make_arch(), seed=0, report=lambda step, value: reports.append((step, value)))
    assert tuple(reports) == score.intermediate


def test_an_unknown_proxy_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="num_params"):
        proxy_config("magic")
