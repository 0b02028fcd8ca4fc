import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from profilers.agreement import agreement, judge, kendall, line_predictor, scale_predictor, spearman

values = st.lists(st.integers(0, 8), min_size=3, max_size=20)


@given(st.data())
def test_rank_correlations_agree_with_scipy(data: st.DataObject) -> None:
    first = data.draw(values)
    second = data.draw(st.lists(st.integers(0, 8), min_size=len(first), max_size=len(first)))
    if len(set(first)) > 1 and len(set(second)) > 1:
        assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
        assert kendall(first, second) == pytest.approx(stats.kendalltau(first, second).statistic)
    else:
        assert spearman(first, second) == kendall(first, second) == 0.0


def test_errors_of_known_predictions() -> None:
    found = agreement("by hand", [1.04, 0.92, 1.20, 1.0], [1.0, 1.0, 1.0, 1.0])
    assert found.mape_percent == pytest.approx((4 + 8 + 20 + 0) / 4)
    assert found.bias_percent == pytest.approx((4 - 8 + 20 + 0) / 4)
    assert (found.within_5_percent, found.within_10_percent) == (0.5, 0.75)


def test_one_scale_repairs_a_constant_factor() -> None:
    sums_ms, measured_ms = numpy.array([1.0, 2.0, 3.0]), numpy.array([1.1, 2.2, 3.3])
    predicted_ms, judges = judge(scale_predictor(sums_ms, measured_ms), 3)
    assert predicted_ms == pytest.approx(measured_ms)
    assert judges.tolist() == [0, 1, 2]


def test_leave_one_out_does_not_see_the_network_it_predicts() -> None:
    feature, measured_ms = numpy.array([1.0, 2.0, 3.0, 4.0]), numpy.array([10.0, 20.0, 30.0, 1000.0])
    predicted_ms, _ = judge(line_predictor(feature, measured_ms), 4)
    assert predicted_ms[3] == pytest.approx(40.0)


def test_a_fit_on_the_first_networks_predicts_the_others_only() -> None:
    feature, measured_ms = numpy.array([1.0, 2.0, 3.0, 4.0]), numpy.array([10.0, 20.0, 99.0, 99.0])
    predicted_ms, judges = judge(line_predictor(feature, measured_ms), 4, num_fit=2)
    assert predicted_ms == pytest.approx([30.0, 40.0])
    assert judges.tolist() == [2, 3]
