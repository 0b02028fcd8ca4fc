"""A parity says agreement only where something was compared and was close."""

import numpy
import pytest

from deploy.parity import compare, not_run_here


def test_errors_are_the_largest_over_all_outputs() -> None:
    ones = numpy.ones(3, dtype=numpy.float32)
    parity = compare([ones, ones + 0.5], [ones, 2 * ones], tolerance=0.3, reason="arrays")
    assert parity.max_abs_error == pytest.approx(0.5)
    assert parity.max_rel_error == pytest.approx(0.25)
    assert parity.agrees


def test_nan_agrees_with_nothing_in_whichever_output_it_stands() -> None:
    ones = numpy.ones(3, dtype=numpy.float32)
    nan = numpy.array([1, numpy.nan, 1], dtype=numpy.float32)
    for outputs in ([ones, nan], [nan, ones]):
        parity = compare(outputs, [ones, ones], tolerance=1.0, reason="arrays")
        assert not parity.agrees
        assert str(parity).startswith("DIFFERS")


def test_what_was_not_run_does_not_agree() -> None:
    parity = not_run_here("no such machine", tolerance=1.0)
    assert not parity.is_checked
    assert not parity.agrees
    assert str(parity) == "not run here: no such machine"
