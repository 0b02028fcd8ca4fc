"""A quarantine in an empty database, and a phone that speaks the page's language without a browser."""

import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from profilers.collecting.application import CollectingApplication, Report
from profilers.collecting.headless_chromium import PROGRAMS
from profilers.collecting.http_server import Request, Response
from profilers.collecting.jobs import JobStore
from profilers.collecting.models import ModelFolder
from profilers.collecting.page_files import FOLDER
from profilers.collecting.secrets_and_limits import new_secret
from profilers.latency_table import LatencyTable
from profilers.storage import open_engine

ORIGIN = "http://127.0.0.1:8060"
PIXEL = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 "
    "Mobile/15E148 Safari/604.1"
)
HAS_CHROMIUM = any(map(shutil.which, PROGRAMS))
HAS_RUNTIME = (FOLDER / "node_modules/onnxruntime-web/package.json").is_file()

Reply = tuple[int, dict[str, Any]]


def asked_keys(work: dict[str, Any]) -> list[str]:
    """What a portion asks samples of, in their order."""
    return [key for chunk in work["chunks"] for key in chunk["keys"]]


class Phone:
    """What the page does, with latencies from a function of the block's key."""

    def __init__(self, application: CollectingApplication, token: str, *, user_agent: str = PIXEL) -> None:
        self.application = application
        self.user_agent = user_agent
        self.token = token
        self.session_key = new_secret()
        self.latency_ms: Callable[[str, int], float] = lambda key, round_index: 1 + int(key[:4], 16) / 65536

    def ask(self, method: str, path: str, body: bytes = b"", *, headers: dict[str, str] | None = None) -> Response:
        """One request with the session key, unless other headers are given."""
        if headers is None:
            headers = {"authorization": f"Bearer {self.session_key}", "content-type": "application/json"}
        request = Request(
            method=method,
            path=path,
            headers={"user-agent": self.user_agent, **headers},
            body=body,
            own_origin=ORIGIN,
            address="192.0.2.7",
        )
        return self.application(request)

    def claim_body(self, **changes: object) -> dict[str, Any]:
        return {
            "schema_version": 1,
            "token": self.token,
            "session_key": self.session_key,
            "provider": "wasm",
            "threads": 1,
            "num_cores": 8,
            "has_exact_clock": True,
            "model": None,
            "system_version": None,
            "max_touch_points": 5,
            **changes,
        }

    def claim(self, **changes: object) -> Reply:
        return _reply(self.ask("POST", "/api/claim", json.dumps(self.claim_body(**changes)).encode()))

    def job(self) -> Reply:
        return _reply(self.ask("GET", "/api/job"))

    def portion(self, job: dict[str, Any], **changes: object) -> dict[str, Any]:
        """The answer to the work that a job asks for."""
        work = job["work"]
        samples = [
            {"key": key, "raw_ms": self.latency_ms(key, work["round_index"]), "num_runs": 2, "at_ms": 100.0 * index}
            for index, key in enumerate(asked_keys(work), start=1)
        ]
        probes = [
            {"position": position, "raw_ms": [1.0, 1.0, 1.0], "num_runs": 2, "at_ms": 100.0 * position + 50}
            for position in (0, len(samples))
        ]
        return {
            "schema_version": 1,
            "upload_id": secrets.token_hex(16),
            "plan_id": job["plan_id"],
            "group_index": work["group_index"],
            "round_index": work["round_index"],
            "portion_index": work["portion_index"],
            "probes": probes,
            "samples": samples,
            "failures": [],
            **changes,
        }

    def send(self, portion: dict[str, Any]) -> Reply:
        return _reply(self.ask("POST", "/api/portions", json.dumps(portion).encode()))

    def measure_everything(self) -> None:
        """Claims the job and answers until nothing more is asked."""
        status, job = self.claim()
        assert status == 200, job
        while job["work"] is not None:
            status, job = self.send(self.portion(job))
            assert status == 201, job


def _reply(response: Response) -> Reply:
    return response.status, json.loads(response.content)


@pytest.fixture
def reports() -> list[Report]:
    return []


@pytest.fixture
def collecting_engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path / 'quarantine.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def store(collecting_engine: Engine) -> JobStore:
    return JobStore(collecting_engine)


@pytest.fixture
def table(collecting_engine: Engine) -> LatencyTable:
    return LatencyTable(collecting_engine)


@pytest.fixture
def application(store: JobStore, table: LatencyTable, tmp_path: Path, reports: list[Report]) -> CollectingApplication:
    return CollectingApplication(store, table, ModelFolder(tmp_path), on_progress=reports.append)


@pytest.fixture
def phone(application: CollectingApplication, store: JobStore) -> Phone:
    """A phone that has scanned the QR code of a job of twelve blocks."""
    if not HAS_RUNTIME:
        pytest.skip("needs scripts/install_browser_runtime")
    _, token = store.create(space="tiny", device_name="", max_blocks=12)
    return Phone(application, token)
