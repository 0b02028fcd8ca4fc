import dataclasses
import math
import subprocess
import sys

import pytest
from sqlalchemy import Engine

from profilers.backends.exact import ExactBackend, exact_latency_ms
from profilers.campaign import run_campaign
from profilers.estimating import BlockLatencies, CannotRunError, MissingLatencyError, estimate
from profilers.latency_table import LatencyTable
from profilers.protocol import Protocol
from profilers.subject import Subject
from search_space.space import random_arch, reachable_specs
from search_space.spaces import search_space
from search_space.walk import block_specs, walk
from tests.profilers.corrections import one_scale

ARCH = random_arch(search_space("tiny"), 1)
DEVICE = ExactBackend().device


@pytest.fixture
def table(sqlite_engine: Engine, quick_protocol: Protocol) -> LatencyTable:
    """All blocks of one architecture on the exact device."""
    table = LatencyTable(sqlite_engine)
    run_campaign([Subject.of_block(spec) for spec in block_specs(ARCH)], ExactBackend(), table, protocol=quick_protocol)
    return table


def test_estimate_is_the_exact_sum(table: LatencyTable) -> None:
    found = estimate(ARCH, table, DEVICE)
    expected_ms = math.fsum(map(exact_latency_ms, block_specs(ARCH)))
    assert found.latency_ms == pytest.approx(expected_ms, rel=1e-9)
    assert found.low_ms == pytest.approx(expected_ms, rel=1e-9)
    assert found.high_ms == pytest.approx(expected_ms, rel=1e-9)
    assert found.is_estimate
    assert found.correction is None
    assert found.labels == ("formula, never measured",)


def test_breakdown_names_every_block_and_sums_to_the_whole(table: LatencyTable) -> None:
    found = estimate(ARCH, table, DEVICE)
    assert [block.name for block in found.blocks] == [block.name for block in walk(ARCH)]
    assert math.fsum(block.latency_ms for block in found.blocks) == found.latency_ms


def test_a_missing_block_is_an_error_that_names_it(table: LatencyTable) -> None:
    last = walk(ARCH)[-1]
    table.forget(DEVICE, [Subject.of_block(last.spec)])
    with pytest.raises(MissingLatencyError) as caught:
        estimate(ARCH, table, DEVICE)
    assert last.name in str(caught.value)
    assert last.spec.kind in str(caught.value)
    assert "python -m profilers.measure --device exact" in str(caught.value)


def test_a_block_the_device_cannot_run_is_an_error_with_the_reason(table: LatencyTable) -> None:
    table.fail(DEVICE, Subject.of_block(block_specs(ARCH)[0]), reason="no such operator")
    with pytest.raises(MissingLatencyError, match="no such operator"):
        estimate(ARCH, table, DEVICE)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize(
    ("name", "backend", "named", "not_named"),
    [
        ("browser-pixel-8", "browser", "profilers.collect --name browser-pixel-8", "profilers.measure"),
        ("chromium:threads=2", "browser", "profilers.measure --device chromium:threads=2", "profilers.collect"),
        ("core-ml", "core_ml", "import what comes back", "profilers.collect"),
        ("host-torch", "torch_cpu", "profilers.measure --device host-torch", "profilers.bundle"),
    ],
)
def test_what_to_do_about_a_block_fits_the_kind_of_device(
    sqlite_engine: Engine, name: str, backend: str, named: str, not_named: str, again: bool
) -> None:
    device, table = dataclasses.replace(DEVICE, name=name, backend=backend), LatencyTable(sqlite_engine)
    table.add_device(device)
    if again:
        table.fail(device, Subject.of_block(block_specs(ARCH)[0]), reason="no such operator")
    with pytest.raises(MissingLatencyError, match=named) as caught:
        estimate(ARCH, table, device)
    assert isinstance(caught.value, CannotRunError) == again
    assert not_named not in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_another_device_has_no_latencies(table: LatencyTable) -> None:
    with pytest.raises(MissingLatencyError):
        estimate(ARCH, table, dataclasses.replace(DEVICE, threads=2))


def test_a_correction_is_used_stated_and_widens_the_interval(table: LatencyTable) -> None:
    plain = estimate(ARCH, table, DEVICE)
    correction = one_scale(1.1, overhead_ms=0.01, relative_half_width=0.04)
    table.set_correction(DEVICE, correction)
    corrected = estimate(ARCH, table, DEVICE)
    assert corrected.correction == correction
    assert corrected.latency_ms == pytest.approx(1.1 * plain.latency_ms + 0.01 * len(plain.blocks))
    assert corrected.high_ms == pytest.approx(corrected.latency_ms * 1.04)
    assert corrected.low_ms == pytest.approx(corrected.latency_ms * 0.96)


def test_a_correction_says_nothing_of_networks_of_another_space(table: LatencyTable) -> None:
    plain = estimate(ARCH, table, DEVICE)
    for space in ("mid", "tiny@64", "somebody's own"):
        table.set_correction(DEVICE, one_scale(2.0, space=space))
    assert estimate(ARCH, table, DEVICE) == plain


def test_a_correction_fitted_on_guesses_is_used_where_blocks_are_guessed(table: LatencyTable) -> None:
    plain = estimate(ARCH, table, DEVICE)
    correction = one_scale(2.0, num_guessed=3)
    table.set_correction(DEVICE, correction)
    assert "3 of whose blocks were guessed" in correction.describe()
    assert estimate(ARCH, table, DEVICE) == plain
    assert estimate(ARCH, table, DEVICE, interpolate=True).latency_ms == pytest.approx(2 * plain.latency_ms)


def test_a_correction_fitted_on_guesses_is_left_out_once_no_block_is_missing(table: LatencyTable) -> None:
    space, plain = search_space("tiny"), estimate(ARCH, table, DEVICE)
    table.set_correction(DEVICE, one_scale(2.0, num_guessed=3))
    for spec in table.coverage(reachable_specs(space), DEVICE).missing:
        table.fail(DEVICE, Subject.of_block(spec), reason="it hung")
    assert BlockLatencies.of_space(space, table, DEVICE, interpolate=True).correction is None
    assert estimate(ARCH, table, DEVICE, interpolate=True) == plain


def test_interval_adds_up_the_blocks_variances(table: LatencyTable, sqlite_engine: Engine) -> None:
    subject = Subject.of_block(block_specs(ARCH)[0])
    num_uses = block_specs(ARCH).count(block_specs(ARCH)[0])
    with sqlite_engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE latency_rows SET low_ms = median_ms - 0.3, high_ms = median_ms + 0.4 WHERE subject_id = ?",
            (subject.subject_id,),
        )
    found = estimate(ARCH, table, DEVICE)
    assert found.latency_ms - found.low_ms == pytest.approx(0.3 * num_uses)
    assert found.high_ms - found.latency_ms == pytest.approx(0.4 * num_uses)


def test_estimate_needs_no_torch() -> None:
    program = "import sys, profilers.estimating, profilers.measure, profilers.check; print('torch' in sys.modules)"
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "False"
