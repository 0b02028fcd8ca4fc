import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
from sqlalchemy import Engine

from profilers.backends.exact import ExactBackend, exact_latency_ms
from profilers.budgeted import measure_within
from profilers.latency_record import Coverage
from profilers.latency_table import LatencyTable
from profilers.measuring import measure_network, measure_space
from profilers.protocol import Protocol
from profilers.subject import Subject
from search_space.space import random_arch, reachable_specs
from search_space.spaces import search_space
from search_space.walk import block_specs

TINY = search_space("tiny")


def command(path: Path, *arguments: str) -> list[str]:
    storage = f"sqlite:///{path}"
    return [sys.executable, "-m", "profilers.measure", "--device", "exact", "--storage", storage, *arguments]


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path, timeout=60)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def num_samples(path: Path) -> int:
    try:
        return int(str(rows(path, "SELECT count(*) FROM latency_samples")[0][0]))
    except sqlite3.OperationalError:  # not created yet
        return 0


def test_a_killed_command_goes_on_and_then_has_nothing_to_do(tmp_path: Path) -> None:
    path = tmp_path / "table.db"
    num_specs = len(reachable_specs(TINY))
    with subprocess.Popen(command(path), stderr=subprocess.DEVNULL) as process:
        while num_samples(path) < num_specs:
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    before = rows(path, "SELECT row_id, raw_ms, taken_at FROM latency_samples ORDER BY sample_id")

    finished = subprocess.run(command(path, "--json"), capture_output=True, text=True, check=True)
    document = json.loads(finished.stdout)
    assert document["num_present"] == document["num_specs"] == num_specs
    after = rows(path, "SELECT row_id, raw_ms, taken_at FROM latency_samples ORDER BY sample_id")
    assert after[: len(before)] == before
    assert len(after) == 2 * num_specs

    again = subprocess.run(command(path, "--json"), capture_output=True, text=True, check=True)
    assert again.stderr.startswith("nothing to measure")
    assert json.loads(again.stdout)["num_measured_now"] == 0
    assert rows(path, "SELECT count(*) FROM latency_samples") == [(len(after),)]


def test_a_whole_space_becomes_a_table(sqlite_engine: Engine, quick_protocol: Protocol) -> None:
    coverage = measure_space(TINY, "exact", sqlite_engine, protocol=quick_protocol)
    assert set(coverage.present) == set(reachable_specs(TINY))
    assert (coverage.missing, coverage.failed) == ((), ())
    table = LatencyTable(sqlite_engine)
    for seed in range(20):
        assert table.coverage(block_specs(random_arch(TINY, seed)), ExactBackend().device).missing == ()


@pytest.mark.parametrize("measure", [measure_space, partial(measure_within, budget_s=1e9)])
def test_what_was_killed_while_it_was_settled_is_settled_by_the_same_call(
    sqlite_engine: Engine, quick_protocol: Protocol, monkeypatch: pytest.MonkeyPatch, measure: Callable[..., Coverage]
) -> None:
    table, device = LatencyTable(sqlite_engine), ExactBackend().device
    with monkeypatch.context() as context:
        context.setattr(LatencyTable, "settle", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            measure_space(TINY, "exact", sqlite_engine, protocol=quick_protocol)
    assert len(table.unsettled(device, "block")) == len(reachable_specs(TINY))
    measure(TINY, "exact", sqlite_engine, protocol=quick_protocol)
    assert table.unsettled(device, "block") == frozenset()


def test_again_measures_what_was_unstable_or_failed(sqlite_engine: Engine, quick_protocol: Protocol) -> None:
    measure_space(TINY, "exact", sqlite_engine, protocol=quick_protocol)
    table, device = LatencyTable(sqlite_engine), ExactBackend().device
    failed = reachable_specs(TINY)[3]
    table.fail(device, Subject.of_block(failed), reason="a bad day")
    assert measure_space(TINY, "exact", sqlite_engine, protocol=quick_protocol).failed == (failed,)
    assert measure_space(TINY, "exact", sqlite_engine, again=True, protocol=quick_protocol).failed == ()


def test_again_killed_and_typed_again_goes_on_and_ends(
    sqlite_engine: Engine, quick_protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, device = LatencyTable(sqlite_engine), ExactBackend().device
    again = partial(measure_space, TINY, "exact", sqlite_engine, again=True, protocol=quick_protocol)
    again()
    first, second = map(Subject.of_block, reachable_specs(TINY)[:2])
    table.fail(device, first, reason="a bad day")
    table.fail(device, second, reason="a bad day")

    def die(*_: object) -> None:
        table.fail(device, second, reason="too bad")
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(LatencyTable, "settle", die)
        with pytest.raises(KeyboardInterrupt):
            again()
    kept = table.samples(device, [first])
    assert again().failed == reachable_specs(TINY)[1:2]
    assert table.samples(device, [first]) == kept
    assert table.unsettled(device, "block") == frozenset()
    assert again().failed == ()


def test_a_network_is_measured_once(sqlite_engine: Engine) -> None:
    arch = random_arch(TINY, 0)
    measurement = measure_network(arch, "exact", sqlite_engine)
    assert measurement.median_ms == pytest.approx(sum(map(exact_latency_ms, block_specs(arch))))
    assert measure_network(arch, "exact", sqlite_engine) == measurement


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--space", "tyni"], "tiny, mid, snapgen"), (["--device", "host-tpu"], "host-onnxruntime")],
)
def test_an_unknown_name_is_a_short_message(tmp_path: Path, arguments: list[str], named: str) -> None:
    failed = subprocess.run(command(tmp_path / "x.db", *arguments), capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert failed.stderr.count("\n") <= 3
    assert named in failed.stderr


def test_unreachable_storage_ends_with_four(tmp_path: Path) -> None:
    storage = ["--storage", "postgresql://user:s3cret@127.0.0.1:1/db"]
    failed = subprocess.run(command(tmp_path / "x.db", *storage), capture_output=True, text=True, check=False)
    assert failed.returncode == 4
    assert "s3cret" not in failed.stderr
    assert failed.stderr.count("\n") <= 3
