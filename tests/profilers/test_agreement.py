import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from profilers.agreement import agreement, kendall, leave_one_out_line, leave_one_out_scale, spearman

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
    assert leave_one_out_scale([1.0, 2.0, 3.0], [1.1, 2.2, 3.3]) == pytest.approx([1.1, 2.2, 3.3])


def test_leave_one_out_does_not_see_the_network_it_predicts() -> None:
    predicted_ms = leave_one_out_line([1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 1000.0])
    assert predicted_ms[3] == pytest.approx(40.0)
