"""A name stands for a device that is here, or for one whose rows the table holds; never for one of several."""

import dataclasses

import pytest
from sqlalchemy import Engine

from profilers.backends.exact import ExactBackend
from profilers.finding_device import find_device
from profilers.latency_table import LatencyTable
from search_space.errors import UsageError

PHONE = dataclasses.replace(ExactBackend().device, name="browser-pixel-8", backend="browser", is_estimate=False)


def test_a_device_that_is_here_needs_no_table() -> None:
    found = find_device("exact", None)
    assert found.device == ExactBackend().device
    assert found.is_here


@pytest.mark.parametrize("name", [PHONE.name, PHONE.device_id])
def test_a_device_of_the_table_is_found_by_name_and_by_id(sqlite_engine: Engine, name: str) -> None:
    table = LatencyTable(sqlite_engine)
    with pytest.raises(UsageError, match="unknown device"):
        find_device(name, table)
    table.add_device(PHONE)
    found = find_device(name, table)
    assert found.device == PHONE
    assert not found.is_here


def test_a_device_of_the_table_is_found_with_underscores_too(sqlite_engine: Engine) -> None:
    table = LatencyTable(sqlite_engine)
    mac = dataclasses.replace(PHONE, name="core-ml:layout=split_einsum", backend="core_ml")
    table.add_device(mac)
    assert find_device("core_ml:layout=split_einsum", table).device == mac


def test_the_id_of_a_device_that_is_here_stands_for_it(sqlite_engine: Engine) -> None:
    table, here = LatencyTable(sqlite_engine), ExactBackend().device
    older = dataclasses.replace(here, runtime="an older formula")
    table.add_device(here)
    table.add_device(older)
    assert find_device(here.device_id, table).is_here
    assert not find_device(older.device_id, table).is_here


def test_of_several_versions_one_has_to_be_named(sqlite_engine: Engine) -> None:
    table, newer = LatencyTable(sqlite_engine), dataclasses.replace(PHONE, runtime="exact 2")
    table.add_device(PHONE)
    table.add_device(newer)
    with pytest.raises(UsageError, match=rf"2 versions of {PHONE.name}\n(.*\n)?.*give an id") as caught:
        find_device(PHONE.name, table)
    assert newer.device_id in str(caught.value)
    assert find_device(newer.device_id, table).device == newer
