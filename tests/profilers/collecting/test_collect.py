import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine

from profilers.collect import CollectOptions
from profilers.collecting.commands import accept_job, list_jobs, reject_job, serve_job
from profilers.collecting.jobs import JobStore
from search_space.errors import UsageError
from tests.profilers.collecting.conftest import Phone


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
        ({"listen": "evil.example"}, "an IP address"),
    ],
)
def test_what_cannot_be_served_opens_no_job(
    phone: Phone, store: JobStore, collecting_engine: Engine, options: dict, message: str
) -> None:
    known = len(store.jobs())
    defaults = {
        "space": "tiny",
        "device_name": "",
        "max_blocks": None,
        "num_networks": 0,
        "listen": "127.0.0.1",
        "port": 0,
        "tls": None,
    }
    with pytest.raises(UsageError, match=message):
        serve_job(collecting_engine, **{**defaults, **options})
    assert len(store.jobs()) == known


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


def test_everything_but_loopback_without_tls_is_warned_about(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    from profilers.collecting import commands

    commands._invite("http://192.0.2.1:8060/#token", is_plain=True)
    assert "plain HTTP" in caplog.text
    assert "http://192.0.2.1:8060/#token" in capsys.readouterr().err
    with contextlib.redirect_stderr(io.StringIO()):
        caplog.clear()
        commands._invite("http://127.0.0.1:8060/#token", is_plain=False)
    assert caplog.text == ""
