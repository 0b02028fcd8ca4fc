import pytest

from profilers.estimating import LatencyEstimate
from profilers.measurement import Measurement
from profilers.pipeline_cost import pipeline_cost

UNET = LatencyEstimate(
    latency_ms=10.0,
    low_ms=9.0,
    high_ms=12.0,
    blocks=(),
    correction=None,
    interpolated={},
    transferred_from=None,
    is_estimate=False,
)


def test_guidance_doubles_the_unet_and_nothing_else() -> None:
    plain = pipeline_cost(UNET, num_steps=8, uses_guidance=False, text_encoder_ms=5.0, decoder_ms=20.0)
    guided = pipeline_cost(UNET, num_steps=8, uses_guidance=True, text_encoder_ms=5.0, decoder_ms=20.0)
    assert plain.latency_ms == pytest.approx(5 + 8 * 10 + 20)
    assert guided.latency_ms == pytest.approx(5 + 16 * 10 + 20)
    assert [part.name for part in guided.parts] == ["text encoder", "UNet", "decoder"]


def test_runs_of_one_part_err_alike() -> None:
    cost = pipeline_cost(UNET, num_steps=4, uses_guidance=False, decoder_ms=3.0)
    assert (cost.low_ms, cost.high_ms) == pytest.approx((39.0, 51.0))


def test_parts_that_nobody_gave_are_named() -> None:
    cost = pipeline_cost(UNET, num_steps=1, uses_guidance=False, decoder_ms=3.0)
    assert cost.missing == ("text encoder",)
    assert {part.name: part.source for part in cost.parts} == {"UNet": "estimated", "decoder": "given"}


def test_a_measured_unet_is_said_to_be_measured() -> None:
    cost = pipeline_cost(Measurement(samples_ms=(2.0, 2.0, 2.0)), num_steps=3, uses_guidance=False)
    assert cost.parts[0].source == "measured"
    assert cost.latency_ms == pytest.approx(6.0)
