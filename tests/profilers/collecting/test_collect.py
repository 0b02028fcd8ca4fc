import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from profilers.collect import CollectOptions
from profilers.collecting import commands
from profilers.collecting.commands import accept_job, list_jobs, reject_job, serve_job
from profilers.collecting.http_server import Tls
from profilers.collecting.jobs import JobStore
from profilers.collecting.plan import PROTOCOL
from profilers.measurement import MIN_MS
from search_space.errors import UsageError
from tests.profilers.collecting.conftest import Phone

SERVING: dict[str, Any] = {
    "space": "tiny",
    "device_name": "",
    "max_blocks": None,
    "num_networks": 0,
    "listen": "127.0.0.1",
    "port": 0,
    "tls": None,
}


def test_help_imports_neither_torch_nor_the_server() -> None:
    code = (
        "import sys; sys.argv = ['collect', '--help']\n"
        "import profilers.collect as command, atexit\n"
        "atexit.register(lambda: print(sorted({'torch', 'numpy', 'http.server', 'sqlalchemy'} & set(sys.modules))))\n"
        "command.command_line.run(command.collect, command.CollectOptions, prog='profilers.collect')"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"
    assert "--listen" in shown.stdout


def test_it_listens_on_this_machine_only_unless_asked() -> None:
    assert CollectOptions().listen == "127.0.0.1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 70000}, "0 to 65535"),
        ({"blocks": 0}, "something in it"),
        ({"networks": -1}, "from 0"),
        ({"tls_cert": Path("a.pem")}, "together"),
        ({"list": True, "accept": "x"}, "one of them"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CollectOptions(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": "huge"}, "tiny"),
        ({"device_name": "<img src=x onerror=alert(1)>"}, "letters, digits"),
        ({"device_name": "../x"}, "letters, digits"),
        ({"device_name": "iphone-15-pro"}, "--name browser-iphone-15-pro"),
        ({"device_name": "chromium"}, "every name but"),
        ({"listen": "evil.example"}, "an IP address"),
    ],
)
def test_what_cannot_be_served_opens_no_job(
    phone: Phone, store: JobStore, collecting_engine: Engine, options: dict, message: str
) -> None:
    known = len(store.jobs())
    with pytest.raises(UsageError, match=message):
        serve_job(collecting_engine, **{**SERVING, **options})
    assert len(store.jobs()) == known


def test_neither_a_port_that_is_taken_nor_a_certificate_that_is_none_opens_a_job(
    phone: Phone, store: JobStore, collecting_engine: Engine, tmp_path: Path
) -> None:
    known = store.jobs()
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UsageError, match="give another"):
        serve_job(collecting_engine, **{**SERVING, "port": taken.getsockname()[1]})
    (tmp_path / "no.pem").write_text("nothing")
    tls = Tls(certificate=tmp_path / "no.pem", key=tmp_path / "no.pem")
    with pytest.raises(UsageError, match="PEM"):
        serve_job(collecting_engine, **{**SERVING, "tls": tls})
    assert store.jobs() == known


def test_jobs_are_listed_accepted_and_rejected(phone: Phone, store: JobStore, collecting_engine: Engine) -> None:
    phone.measure_everything()
    (job,) = store.jobs()
    text, document = list_jobs(collecting_engine)
    assert f"--accept {job.job_id}" in text
    assert json.dumps(document)
    text, _ = accept_job(collecting_engine, job.job_id, with_outliers=False)
    assert "12 blocks are in the table" in text
    with pytest.raises(UsageError, match="accepted already"):
        reject_job(collecting_engine, job.job_id)
    other, _ = store.create(space="tiny", device_name="", max_blocks=1)
    assert len(list_jobs(collecting_engine)[1]["jobs"]) == 1, "nobody opened the other one"  # type: ignore[arg-type]
    reject_job(collecting_engine, other.job_id)
    assert [item.status for item in store.jobs()] == ["accepted", "rejected"]
    with pytest.raises(UsageError, match="no collected job"):
        accept_job(collecting_engine, "x", with_outliers=False)


def test_no_upload_makes_numbers_that_cannot_be_listed(
    phone: Phone, store: JobStore, collecting_engine: Engine
) -> None:
    _, document = phone.claim()

    def extreme(document: dict[str, Any], sentinel_ms: float, raw_ms: float) -> dict[str, Any]:
        portion = phone.portion(document)
        for part in (*portion["probes"], *portion["samples"]):
            part["at_ms"] *= 5e5  # so that the time holds them
        probes = [{**probe, "raw_ms": [sentinel_ms] * 3} for probe in portion["probes"]]
        return {**portion, "probes": probes, "samples": [{**item, "raw_ms": raw_ms} for item in portion["samples"]]}

    assert phone.send(extreme(document, sentinel_ms=5e-324, raw_ms=1.0))[0] == 400
    for round_index in range(PROTOCOL.max_rounds):
        sentinel_ms, raw_ms = (MIN_MS, 1e7) if round_index % 2 else (1e7, MIN_MS)
        status, document = phone.send(extreme(document, sentinel_ms, raw_ms))
        assert status == 201, document
        list_jobs(collecting_engine)
    (job,) = store.jobs()
    accept_job(collecting_engine, job.job_id, with_outliers=True)
    list_jobs(collecting_engine)


@pytest.mark.parametrize(
    ("address", "is_plain"),
    [("127.0.0.1", False), ("127.0.0.2", False), ("::1", False), ("0.0.0.0", True), ("::", True), ("192.0.2.1", True)],
)
def test_everything_but_loopback_is_plain_without_tls(address: str, is_plain: bool) -> None:
    assert commands._is_plain(address, None) == is_plain
    assert not commands._is_plain(address, Tls(certificate=Path("a.pem"), key=Path("b.pem")))


def test_what_is_plain_is_warned_about(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    commands._invite("http://192.0.2.1:8060/#token", (), is_plain=True)
    assert "plain HTTP" in caplog.text
    assert "http://192.0.2.1:8060/#token" in capsys.readouterr().err
    caplog.clear()
    commands._invite("http://127.0.0.1:8060/#token", (), is_plain=False)
    assert caplog.text == ""


def test_a_server_that_is_started_again_says_whose_page_goes_on(
    phone: Phone, store: JobStore, capsys: pytest.CaptureFixture[str]
) -> None:
    commands._invite("http://127.0.0.1:8060/#token", store.unfinished(), is_plain=False)
    assert "open this on the phone, once" in capsys.readouterr().err, "a job that nobody opened is not gone on with"
    phone.claim()
    commands._invite("http://127.0.0.1:8060/#token", store.unfinished(), is_plain=False)
    shown = capsys.readouterr().err
    assert "browser-pixel-8 is not done: reload its page to go on" in shown
    assert "open this on another phone, once" in shown
