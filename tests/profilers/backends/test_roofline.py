"""Devices that are formulas: quick, without noise, and never mistaken for measured ones."""

import pytest
from sqlalchemy import Engine

from profilers.backends.registry import open_backend
from profilers.backends.roofline import estimated_latency_ms
from profilers.estimating import estimate
from profilers.latency_table import LatencyTable
from profilers.measuring import measure_space
from profilers.roofline.calibration import stored_calibration
from profilers.roofline.phones import PHONES
from search_space.space import random_arch, reachable_specs
from search_space.spaces import search_space
from search_space.walk import block_specs

NAME = "iphone-16-pro-max"


def test_a_space_becomes_a_table_of_estimates(sqlite_engine: Engine) -> None:
    space = search_space("tiny")
    coverage = measure_space(space, NAME, sqlite_engine)
    assert set(coverage.present) == set(reachable_specs(space))
    arch, device = random_arch(space, 0), open_backend(NAME).device
    found = estimate(arch, LatencyTable(sqlite_engine), device)
    assert found.latency_ms == pytest.approx(estimated_latency_ms(PHONES[NAME], *block_specs(arch)))
    assert found.relative_half_width == pytest.approx(stored_calibration().relative_half_width)
    assert found.is_estimate


@pytest.mark.parametrize("name", PHONES)
def test_a_phone_names_its_formula_and_its_calibration(name: str) -> None:
    device = open_backend(name).device
    assert device.is_estimate
    assert "never measured" in device.hardware
    assert "calibration" in device.runtime
