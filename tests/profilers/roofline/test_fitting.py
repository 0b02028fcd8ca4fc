"""The formula meets what it was fitted on, and what is stored is what fitting gives."""

import dataclasses

import pytest

from profilers.backends.roofline import estimated_latency_ms
from profilers.roofline.calibration import Calibration, stored_calibration
from profilers.roofline.fitting import fit, fitted_figures, left_out_half_width, predict
from profilers.roofline.formula import latency_ms, work_of
from profilers.roofline.phones import CHIPS, PHONES, REFERENCE_CHIP
from profilers.roofline.published import published_figures
from profilers.roofline.report import json_document, text
from search_space.references import snapgen_ladder, snapgen_t2i
from search_space.specs import ConvSpec
from search_space.walk import block_specs

FIGURES = published_figures()


def _ladder_ms() -> dict[str, float]:
    phone = PHONES["iphone-15-pro"]
    return {title.split()[0]: estimated_latency_ms(phone, *block_specs(arch)) for title, arch in snapgen_ladder()}


def test_fitting_again_gives_the_stored_constants() -> None:
    again, stored = fit(FIGURES), stored_calibration()
    assert vars(again.rates) == pytest.approx(vars(stored.rates), rel=1e-3)
    assert again.chip_speeds == pytest.approx(stored.chip_speeds, rel=1e-3)
    assert again.apple_gain == pytest.approx(stored.apple_gain, rel=1e-3)


def test_snapgens_network_takes_what_was_published() -> None:
    latency = estimated_latency_ms(PHONES["iphone-16-pro-max"], *block_specs(snapgen_t2i()))
    assert latency == pytest.approx(274, rel=0.15)


def test_snapgens_four_steps_have_their_sizes_and_their_order() -> None:
    ms = _ladder_ms()
    changes = {"1": ms["1"] / ms["0"], "2a": ms["2a"] / ms["1"], "2b": ms["2b"] / ms["1"], "4": ms["4"] / ms["3"]}
    assert changes == pytest.approx({"1": 0.76, "2a": 0.38, "2b": 1 / 2.4, "4": 0.91}, abs=0.02)
    assert changes["2a"] < changes["2b"] < changes["1"] < changes["4"] < 1
    assert ms["3"] < ms["2b"]  # a smaller feed-forward layer, of which no latency was published


def test_every_published_figure_is_met_within_three_percent() -> None:
    for figure in FIGURES:
        assert predict(figure, stored_calibration()) == pytest.approx(figure.value, rel=0.03)


def test_a_figure_is_foretold_without_being_seen() -> None:
    step = FIGURES[-2]
    (fitted,) = fitted_figures([step], stored_calibration())
    assert fitted.left_out == predict(step, fit([]))
    assert fitted.left_out != fitted.model


def test_the_interval_of_a_latency_comes_from_the_milliseconds_that_were_left_out() -> None:
    fitted = fitted_figures(FIGURES, stored_calibration())
    half_width = left_out_half_width(fitted)
    assert half_width == pytest.approx(stored_calibration().relative_half_width, rel=1e-2)
    assert left_out_half_width([row for row in fitted if row.figure.against is None]) == half_width
    for row in fitted:  # every published figure lies inside the interval of the formula that has not seen it
        assert abs(row.figure.value / row.left_out - 1) < half_width


def test_newer_phones_are_faster() -> None:
    speeds = stored_calibration().chip_speeds
    phones = sorted((chip for chip in CHIPS.values() if not chip.is_for_tablets), key=lambda chip: chip.generation)
    assert [chip.name for chip in phones] == sorted((chip.name for chip in phones), key=lambda name: speeds[name])
    assert speeds[REFERENCE_CHIP] == 1
    assert all(phone.chip in speeds for phone in PHONES.values())


def test_an_operation_is_bound_by_arithmetic_or_by_memory() -> None:
    rates = dataclasses.replace(stored_calibration().rates, launch_us=0.0)
    work = work_of([ConvSpec(in_channels=256, out_channels=256, size=64)])
    arithmetic_ms, memory_ms = (
        1000 * work.gigamacs[0] / rates.full_convolution,
        1000 * work.gigabytes[0] / rates.bandwidth,
    )
    assert latency_ms(work, rates) == pytest.approx(max(arithmetic_ms, memory_ms))
    slow_memory = dataclasses.replace(rates, bandwidth=rates.bandwidth / 1000)
    assert latency_ms(work, slow_memory) == pytest.approx(1000 * memory_ms)


def test_batch_multiplies_activations_and_leaves_weights() -> None:
    spec = ConvSpec(in_channels=16, out_channels=16, size=8)
    one, two = work_of([spec]), work_of([spec], batch_size=2)
    weights_bytes = 2 * 16 * 16 * 9
    assert two.gigamacs[0] == 2 * one.gigamacs[0]
    assert two.gigabytes[0] == pytest.approx(2 * one.gigabytes[0] - weights_bytes / 1e9)
    six_bits = work_of([spec], weight_bits=6)
    assert one.gigabytes[0] - six_bits.gigabytes[0] == pytest.approx(weights_bytes * (1 - 6 / 16) / 1e9)


def test_calibrations_survive_their_file_and_have_their_own_ids() -> None:
    stored = stored_calibration()
    assert Calibration.from_json(stored.to_json()) == stored
    other = dataclasses.replace(stored, apple_gain=1.0)
    assert other.calibration_id != stored.calibration_id


def test_the_page_says_what_is_believed_and_not_fitted() -> None:
    fitted = fitted_figures(FIGURES[-1:], stored_calibration())
    page, document = text(stored_calibration(), fitted), json_document(stored_calibration(), fitted)
    assert document["rates_unmoved_by_any_figure"] == ["depthwise_convolution", "attention"]
    assert "a belief: no figure moves it" in page
    assert "never measured" in page
    assert document["is_estimate"] is True
