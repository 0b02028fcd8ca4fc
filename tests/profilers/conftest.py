"""What the profilers' tests share: both databases, a quick protocol, and a few small blocks."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from profilers.device import Device
from profilers.protocol import Protocol
from profilers.storage import open_engine
from search_space.specs import BlockSpec, ConvSpec, DownsampleSpec, NormOutSpec, TimeEmbeddingSpec
from tests.postgresql import postgresql_server, postgresql_url

__all__ = ["postgresql_server", "postgresql_url"]


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty database, once of each kind."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'table.db'}"
    else:
        url = request.getfixturevalue("postgresql_url")
    engine = open_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path / 'table.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def device() -> Device:
    return Device(
        name="test",
        backend="exact",
        hardware="none",
        operating_system="none",
        runtime="none 1",
        precision="fp32",
        threads=1,
    )


@pytest.fixture
def small_specs() -> tuple[BlockSpec, ...]:
    return (
        ConvSpec(in_channels=4, out_channels=8, size=8),
        TimeEmbeddingSpec(in_width=8, out_width=16),
        DownsampleSpec(channels=8, size=8, convolution="full"),
        NormOutSpec(channels=8, size=8, norm_groups=4),
    )


@pytest.fixture
def absent_device(device: Device) -> Device:
    """A device that is not here."""
    return dataclasses.replace(device, name="browser-pixel-8", backend="browser")


@pytest.fixture
def quick_protocol() -> Protocol:
    return Protocol(min_rounds=3, max_rounds=4, num_calibration_probes=3, time_limit_s=20)
