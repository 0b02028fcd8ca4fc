"""Workspaces for the tests of reports and figures."""

import shutil
from pathlib import Path

import pytest

from tests.postgresql import postgresql_server, postgresql_url
from tests.studies.sample_study import SampleStudy, fill_study, measure_exact_device, start_study
from tests.studies.searching import measured_space_folder, search_engine

__all__ = ["measured_space_folder", "postgresql_server", "postgresql_url", "search_engine"]


@pytest.fixture(scope="session")
def measured_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with latencies and no study; copy it, do not change it."""
    folder = tmp_path_factory.mktemp("measured")
    measure_exact_device(folder)
    return folder


@pytest.fixture
def empty_study(measured_folder: Path, tmp_path: Path) -> SampleStudy:
    shutil.copytree(measured_folder, tmp_path / "workspace")
    return start_study(tmp_path / "workspace")


@pytest.fixture
def filled_study(empty_study: SampleStudy) -> SampleStudy:
    fill_study(empty_study)
    return empty_study
