import dataclasses
import math
from collections import Counter

import numpy
import pytest
from sqlalchemy import Engine

from profilers.backends.registry import open_backend
from profilers.checking import measure_networks
from profilers.correction import GROUPS
from profilers.defaults import DEFAULT_DEVICE
from profilers.device import Device
from profilers.estimating import MissingLatencyError, estimate
from profilers.latency_table import LatencyTable
from profilers.measuring import measure_space
from profilers.protocol import Protocol
from profilers.roofline.calibration import stored_calibration
from profilers.storage import open_engine
from profilers.subject import Subject
from profilers.transferring import TransferReport, json_document, markdown, most_different, text, transfer_space
from search_space.errors import SnapNASError, UsageError
from search_space.space import distinct_archs, reachable_specs
from search_space.spaces import search_space
from search_space.walk import block_specs
from tests.profilers.moved_rows import move_rows

TINY = search_space("tiny")
PROTOCOL = Protocol(min_rounds=2, max_rounds=2, num_calibration_probes=3)
SOURCE, TARGET = "exact", "iphone-15-pro"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The blocks of one formula's device."""
    engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('transfer') / 'table.db'}")
    measure_space(TINY, SOURCE, engine, protocol=PROTOCOL)
    return engine


@pytest.fixture(scope="module")
def report(engine: Engine) -> TransferReport:
    """Another formula's device, from ten networks."""
    return transfer_space(TINY, SOURCE, TARGET, engine, num_networks=10, num_validate=12, protocol=PROTOCOL)


def test_ten_networks_beat_the_source_as_it_is(report: TransferReport) -> None:
    as_they_are, _, by_kind, *counting, _ = report.agreements
    assert [agreement.name for agreement in counting] == ["line over macs", "line over parameters"]
    assert by_kind.mape_percent < as_they_are.mape_percent
    assert (report.correction.num_networks, report.correction.num_judges) == (10, 12)


def test_estimates_of_the_target_use_it_and_say_so(report: TransferReport, engine: Engine) -> None:
    table, source, target = LatencyTable(engine), open_backend(SOURCE).device, open_backend(TARGET).device
    arch = distinct_archs(TINY, 1, 77)[0]
    found = estimate(arch, table, target, source=source)
    assert "transferred from exact" in found.labels
    assert found.correction == report.correction
    plain = estimate(arch, table, source)
    assert plain.correction is None
    assert found.low_ms < found.latency_ms < found.high_ms
    share = math.hypot(report.correction.relative_half_width, stored_calibration().relative_half_width)
    assert found.relative_half_width == pytest.approx(share)  # a fit to a formula makes the formula no truer


def test_the_target_has_no_estimates_of_its_own(report: TransferReport, engine: Engine) -> None:
    with pytest.raises(MissingLatencyError):
        estimate(distinct_archs(TINY, 1, 0)[0], LatencyTable(engine), report.target)


def test_nothing_transferred_is_an_error_with_the_command(engine: Engine) -> None:
    source = open_backend(SOURCE).device
    with pytest.raises(UsageError, match="profilers.transfer --from exact --to elsewhere"):
        estimate(
            distinct_archs(TINY, 1, 0)[0],
            LatencyTable(engine),
            dataclasses.replace(source, name="elsewhere"),
            source=source,
        )


def test_chosen_networks_tell_coefficients_apart_better_than_random_ones() -> None:
    features = numpy.random.default_rng(0).gamma(2.0, size=(200, len(GROUPS) + 1))
    chosen = most_different(features, 10)
    assert len(set(chosen)) == 10

    def information(rows: list[int]) -> float:
        shares = features[rows] / features[rows, :-1].sum(axis=1, keepdims=True)
        return float(numpy.linalg.slogdet(shares.T @ shares)[1])

    assert information(chosen) > max(information(list(range(start, start + 10))) for start in range(0, 190, 10))


def test_report_says_where_the_blocks_are_from(report: TransferReport) -> None:
    assert f"{TARGET} from the blocks of {SOURCE}" in text(report)
    page = markdown(report, command="python -m profilers.transfer")
    assert page.startswith(f"# Transfer of a latency table: tiny on {TARGET}\n")
    assert "- command: `python -m profilers.transfer`\n" in page
    assert text(report) in page
    document = json_document(report)
    assert (document["source"]["name"], document["target"]["name"]) == (SOURCE, TARGET)


def test_a_network_with_a_block_that_the_source_could_not_run_is_no_candidate(engine: Engine) -> None:
    table, source = LatencyTable(engine), open_backend(SOURCE).device
    num_users = Counter(spec for arch in distinct_archs(TINY, 200, 0) for spec in set(block_specs(arch)))
    broken = Subject.of_block(num_users.most_common()[-1][0])
    table.fail(source, broken, reason="it hung")
    report = transfer_space(TINY, SOURCE, "iphone-14", engine, num_networks=5, protocol=PROTOCOL)
    assert report.correction.num_networks == 5
    table.finish(source, [broken])


def test_too_few_candidates_without_a_block_that_failed_are_an_error(sqlite_engine: Engine) -> None:
    table, source = LatencyTable(sqlite_engine), open_backend(SOURCE).device
    table.add_device(source)
    for spec in (spec for spec in reachable_specs(TINY) if spec.kind == "conv"):
        table.fail(source, Subject.of_block(spec), reason="it hung")
    with pytest.raises(SnapNASError, match="200 of 200 networks have a block that exact could not run: it hung"):
        transfer_space(TINY, SOURCE, TARGET, sqlite_engine, num_networks=5, protocol=PROTOCOL)


def test_the_source_need_not_be_here(sqlite_engine: Engine, absent_device: Device) -> None:
    measure_space(TINY, SOURCE, sqlite_engine, protocol=PROTOCOL)
    move_rows(sqlite_engine, absent_device, kind="block")
    report = transfer_space(TINY, absent_device.name, TARGET, sqlite_engine, num_networks=5, protocol=PROTOCOL)
    assert (report.source, report.target.name) == (absent_device, TARGET)
    table, arch = LatencyTable(sqlite_engine), distinct_archs(TINY, 1, 77)[0]
    found = estimate(arch, table, report.target, source=absent_device)
    assert found.labels == ("formula, never measured", f"transferred from {absent_device.name}")
    other = distinct_archs(search_space("tiny@64"), 1, 0)[0]
    with pytest.raises(UsageError, match="for this network, only for those of tiny"):
        estimate(other, table, report.target, source=absent_device)


def test_the_target_need_not_be_here_when_it_measured_networks(sqlite_engine: Engine, absent_device: Device) -> None:
    table = LatencyTable(sqlite_engine)
    archs = distinct_archs(TINY, 12, 0)
    measure_networks(archs, TARGET, table, protocol=PROTOCOL)
    move_rows(sqlite_engine, absent_device, kind="network")
    measure_space(TINY, SOURCE, sqlite_engine, protocol=PROTOCOL)
    with pytest.raises(UsageError, match=r"13 networks were asked for, of browser-pixel-8(.|\n)*12: as many of tiny"):
        transfer_space(TINY, SOURCE, absent_device.name, sqlite_engine, num_networks=10, num_validate=3)
    with pytest.raises(UsageError, match="--seed was given for browser-pixel-8, which is not here"):
        transfer_space(TINY, SOURCE, absent_device.name, sqlite_engine, num_networks=8, seed=1)
    report = transfer_space(TINY, SOURCE, absent_device.name, sqlite_engine, num_networks=8, num_validate=4)
    assert (report.source.name, report.target, report.is_here) == (SOURCE, absent_device, False)
    assert (report.correction.num_networks, report.correction.num_judges) == (8, 4)
    assert "measured itself elsewhere" in markdown(report, command="")
    found = estimate(archs[0], table, absent_device, source=report.source)
    measured = table.measurement(absent_device, Subject.of_network(archs[0]))
    assert measured is not None
    assert found.latency_ms == pytest.approx(measured.median_ms, rel=0.2)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (SOURCE, SOURCE),
        (SOURCE, open_backend(SOURCE).device.device_id),
        (DEFAULT_DEVICE, f"{DEFAULT_DEVICE}:threads=1"),
    ],
)
def test_a_device_is_not_transferred_to_itself_whatever_it_is_called(engine: Engine, source: str, target: str) -> None:
    with pytest.raises(UsageError, match="two different devices"):
        transfer_space(TINY, source, target, engine)
