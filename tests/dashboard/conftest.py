"""A dashboard over a real study, its server on a free port of this machine."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from dashboard.__main__ import make_server
from dashboard.app import build_app
from dashboard.workspace import Workspace
from tests.studies.sample_study import SampleStudy, fill_study, measure_exact_device, start_study


@pytest.fixture(scope="session")
def measured_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with latencies and no study; copy it, do not change it."""
    folder = tmp_path_factory.mktemp("measured")
    measure_exact_device(folder)
    return folder


@pytest.fixture
def filled_study(measured_folder: Path, tmp_path: Path) -> SampleStudy:
    shutil.copytree(measured_folder, tmp_path / "workspace")
    study = start_study(tmp_path / "workspace")
    fill_study(study, num_trials=12)
    return study


@pytest.fixture
def workspace(filled_study: SampleStudy) -> Workspace:
    return Workspace(filled_study.url, filled_study.folder)


@pytest.fixture
def client(workspace: Workspace) -> FlaskClient:
    return build_app(workspace).test_client()


@pytest.fixture
def address(workspace: Workspace) -> Iterator[str]:
    """Where a real server answers."""
    server = make_server(workspace, 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()
