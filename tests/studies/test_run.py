"""The command as people type it: exit codes, messages, resuming after a kill, and what it prints."""

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from profilers.backends.exact import ExactBackend
from profilers.latency_table import LatencyTable
from profilers.storage import open_engine
from profilers.tables import LatencyRow
from search_space.errors import SnapNASError, StorageError, UsageError
from studies.recipes import study_config
from studies.results import StudyReader, TrialRecord
from studies.run import _with_ray_address, default_study_name, resolve, run
from studies.run_options import RunOptions

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "studies.run", *arguments]


def _run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*arguments), capture_output=True, text=True, cwd=cwd, env=ENVIRONMENT, check=False, timeout=110
    )


def _records(workspace: Path) -> list[TrialRecord]:
    engine = open_engine(f"sqlite:///{workspace}/snapnas.db")
    reader = StudyReader(engine)
    records = reader.trials("smoke") if reader.studies() else []
    engine.dispose()
    return records


def _is_being_evaluated(record: TrialRecord) -> bool:
    """A trial above its budget runs for a moment as well, before it is rejected."""
    return record.state == "running" and record.violation is not None and record.violation <= 0


def _snapshot(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, measured_space_folder: Path) -> Path:
    """A workspace after a search of two trials, teacher included; copy it, do not change it."""
    workspace = tmp_path_factory.mktemp("searched") / "workspace"
    shutil.copytree(measured_space_folder, workspace)
    completed = _run("smoke", "--until", "search", "--trials", "2", "--out", str(workspace), "--json")
    assert completed.returncode == 0, completed.stderr
    (workspace.parent / "stdout").write_text(completed.stdout)
    return workspace


@pytest.mark.parametrize(
    ("options", "given", "allowed"),
    [
        (RunOptions(recipe="tiny_on_gpu"), "unknown recipe 'tiny_on_gpu'", "tiny_on_cpu"),
        (RunOptions(device="host-onnx"), "unknown device 'host-onnx'", "did you mean host-onnxruntime"),
        (RunOptions(data="scenery"), "no data set or folder is called 'scenery'", "scenes, digits"),
        (RunOptions(study="../up"), "study name '../up'", "letters, digits"),
        (RunOptions(trials=0), "--trials 0", "from 1"),
        (RunOptions(workers=0), "--workers 0", "from 1"),
        (RunOptions(max_latency_ms=-1.0), "latency limit -1.0 ms", "above 0"),
    ],
)
def test_a_wrong_option_says_what_was_given_and_what_is_allowed(options: RunOptions, given: str, allowed: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(options)
    assert given in str(caught.value)
    assert allowed in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_the_phone_recipe_says_what_this_machine_lacks(tmp_path: Path) -> None:
    options = RunOptions(recipe="snapgen_phone", data=str(tmp_path), out=tmp_path / "out")
    with pytest.raises(UsageError, match="cannot run here; missing: .*a CUDA GPU.*autoencoder"):
        run(options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("storage", ["postgresql://a:secret@127.0.0.1:1/b", "sqlite:////proc/no/such.db", "what"])
def test_a_storage_that_does_not_answer_is_exit_code_4(storage: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        run(RunOptions(recipe="smoke", storage=storage, out=tmp_path))
    assert caught.value.exit_code == 4
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "expanded"),
    [
        (["--ray"], ["--ray", "local"]),
        (["--ray", "--json"], ["--ray", "local", "--json"]),
        (["--ray", "smoke"], ["--ray", "local", "smoke"]),
        (["--ray", "10.0.0.1:6379"], ["--ray", "10.0.0.1:6379"]),
        (["--ray", "auto", "smoke"], ["--ray", "auto", "smoke"]),
    ],
)
def test_ray_without_an_address_is_this_machine(arguments: list[str], expanded: list[str]) -> None:
    assert _with_ray_address(arguments) == expanded


def test_a_dry_run_touches_nothing_and_says_what_it_would_do(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(searched, tmp_path / "workspace")
    before = _snapshot(tmp_path)
    run(RunOptions(recipe="smoke", out=tmp_path / "workspace", dry_run=True, json=True))
    run(RunOptions(recipe="tiny_on_cpu", out=tmp_path / "nowhere", dry_run=True))
    assert _snapshot(tmp_path) == before
    assert not (tmp_path / "nowhere").exists()
    first, *text = capsys.readouterr().out.splitlines()
    plan = json.loads(first)
    assert plan["latency_table"]["num_present"] == plan["latency_table"]["num_blocks"] > 300
    assert plan["latency_table"]["latency_budget_ms"] > 0
    assert plan["num_architectures"] > 1e9
    assert plan["config"]["recipe"] == "smoke"
    assert text[2].startswith("latency table: 0 of ")


def test_json_is_the_only_line_on_stdout_and_strict(searched: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    lines = (searched.parent / "stdout").read_text().splitlines()
    assert len(lines) == 1
    document = json.loads(lines[0], parse_constant=refuse)
    assert list(document) == ["study", "trials", "front", "winner", "exported"]
    assert document["trials"]["complete"] == 2
    assert set(document["trials"]) == {"running", "complete", "infeasible", "failed", "duplicate"}
    assert document["winner"]["arch_id"] in [trial["arch_id"] for trial in document["front"]]
    assert document["winner"]["latency_ms"]["estimated"] > 0
    assert document["winner"]["latency_ms"]["measured"] is None  # a formula's milliseconds are no measurement


def _phone_that_left(measured_space_folder: Path, workspace: Path) -> tuple[str, Engine]:
    """Makes a workspace whose measured device is not here: a phone that left its table. Returns its name."""
    shutil.copytree(measured_space_folder, workspace)
    phone = dataclasses.replace(ExactBackend().device, name="browser-pixel-8", backend="browser", is_estimate=False)
    engine = open_engine(f"sqlite:///{workspace}/snapnas.db")
    LatencyTable(engine).add_device(phone)
    with Session(engine) as session, session.begin():
        session.execute(update(LatencyRow).values(device_id=phone.device_id))
    return phone.name, engine


def test_a_study_counts_the_latency_of_a_phone_that_left_its_table(
    measured_space_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = tmp_path / "workspace"
    phone, engine = _phone_that_left(measured_space_folder, workspace)
    engine.dispose()
    options = RunOptions(recipe="smoke", device=phone, trials=1, until="search", out=workspace, json=True)
    run(dataclasses.replace(options, dry_run=True))
    plan = json.loads(capsys.readouterr().out)["latency_table"]
    assert plan["num_present"] == plan["num_blocks"]
    run(options)
    document = json.loads(capsys.readouterr().out)
    assert document["study"] == "smoke-browser-pixel-8"
    assert document["winner"]["latency_ms"]["estimated"] > 0
    assert document["winner"]["latency_ms"]["measured"] is None  # nobody ran the whole winner there


def test_a_phone_that_left_before_it_was_done_is_refused_before_any_training(
    measured_space_folder: Path, tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    phone, engine = _phone_that_left(measured_space_folder, workspace)
    with Session(engine) as session, session.begin():
        session.execute(update(LatencyRow).where(LatencyRow.text.contains("norm_out")).values(status="sampling"))
    engine.dispose()
    with pytest.raises(UsageError, match=r"lacks \d+ of \d+ blocks of tiny on browser-pixel-8, which is not here"):
        run(RunOptions(recipe="smoke", device=phone, until="search", out=workspace))
    assert not (workspace / "teachers").exists()


def test_a_study_guesses_what_a_phone_did_not_measure_where_it_is_asked_to(
    measured_space_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = tmp_path / "workspace"
    phone, engine = _phone_that_left(measured_space_folder, workspace)
    with Session(engine) as session, session.begin():
        rows = session.execute(select(LatencyRow.row_id, LatencyRow.text)).all()
        lost = [row_id for row_id, text in rows if '"kind":"residual"' in text][::2]
        session.execute(update(LatencyRow).where(LatencyRow.row_id.in_(lost)).values(status="sampling", median_ms=None))
    options = RunOptions(recipe="smoke", device=phone, trials=1, until="search", out=workspace, interpolate=True)

    run(dataclasses.replace(options, dry_run=True, json=True))
    plan = json.loads(capsys.readouterr().out)["latency_table"]
    assert len(lost) > 20
    assert (plan["num_present"], plan["num_guessed"]) == (len(rows) - len(lost), len(lost))
    assert plan["latency_budget_ms"] > 0

    for _ in range(2):  # the second one resumes it
        run(dataclasses.replace(options, json=True))
        document = json.loads(capsys.readouterr().out)
        assert document["study"] == "smoke-browser-pixel-8-interpolated"
        assert document["trials"]["complete"] == 1
    study = StudyReader(engine).study(document["study"])
    assert study.latency_caveat == "partly guessed"
    assert study.latency_budget_ms == pytest.approx(plan["latency_budget_ms"])

    with Session(engine) as session, session.begin():  # one more is known now, so every guess changes
        session.execute(update(LatencyRow).where(LatencyRow.row_id == lost[0]).values(status="measured", median_ms=1.0))
    with pytest.raises(UsageError, match="latency table .* with guesses"):
        run(options)
    with Session(engine) as session, session.begin():
        session.execute(update(LatencyRow).where(LatencyRow.text.contains("norm_out")).values(status="sampling"))
    with pytest.raises(UsageError, match="too few of their kind are there to guess them"):
        run(options)
    engine.dispose()


@pytest.mark.parametrize(
    ("sent", "exit_code", "failure"),
    [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "Interrupted"), (signal.SIGKILL, -9, "Lost")],
)
def test_a_stopped_run_is_resumed_by_the_same_command(
    searched: Path, tmp_path: Path, sent: signal.Signals, exit_code: int, failure: str
) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(searched, workspace)
    arguments = ("smoke", "--until", "search", "--trials", "3", "--out", str(workspace))
    with subprocess.Popen(
        _command(*arguments), stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=ROOT
    ) as stopped:
        deadline_s = time.monotonic() + 60
        while not any(_is_being_evaluated(record) for record in _records(workspace)):
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        stopped.send_signal(sent)
        assert stopped.stderr is not None
        message = stopped.stderr.read()
    assert stopped.returncode == exit_code, message
    assert sent == signal.SIGKILL or "to resume, type the same command again" in message
    before = _records(workspace)
    resumed = _run(*arguments)
    assert resumed.returncode == 0, resumed.stderr
    after = _records(workspace)
    assert [record.number for record in after] == list(range(len(after)))
    assert sum(record.state == "complete" for record in after) == 3
    assert [record.failure.type for record in after if record.state == "failed" and record.failure] == [failure]
    finished = [record for record in before if record.state not in ("running", "failed")]
    assert [after[record.number] for record in finished] == finished


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (RunOptions(), "tiny_on_cpu"),
        (RunOptions(data="scenes", device="host-onnxruntime"), "tiny_on_cpu"),
        (RunOptions(data="digits"), "tiny_on_cpu-digits"),
        (RunOptions(device="host-onnxruntime:precision=int8"), "tiny_on_cpu-host-onnxruntime-precision-int8"),
        (RunOptions(data="tests/studies", trials=3), "tiny_on_cpu-studies"),
        (RunOptions(max_latency_ms=4.5, interpolate=True), "tiny_on_cpu-interpolated-4.5-ms"),
        (RunOptions(data="digits", study="mine"), "mine"),
    ],
)
def test_other_data_another_device_or_budget_is_another_study(options: RunOptions, name: str) -> None:
    assert resolve(options).study_name == name


def test_long_names_that_begin_alike_are_other_studies() -> None:
    config = dataclasses.replace(study_config("smoke"), device="core-ml:" + "x" * 64)
    names = {default_study_name(config), default_study_name(dataclasses.replace(config, interpolate=True))}
    assert {len(name) for name in names} == {64}
    assert len(names) == 2


def test_another_fingerprint_is_refused_with_the_difference(searched: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(searched, workspace)
    with pytest.raises(UsageError, match="data scenes .* -> digits .*\n.*\n.*--study NAME"):
        run(RunOptions(recipe="smoke", study="smoke", out=workspace, until="search", data="digits"))


def test_a_budget_that_nothing_keeps_is_exit_code_3_and_says_how_to_go_on(searched: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(searched, workspace)
    options = RunOptions(recipe="smoke", out=workspace, until="search", study="tight", max_latency_ms=0.01)
    with pytest.raises(
        SnapNASError, match="no architecture keeps .* 0.01 ms; the fastest .*\n.*--max-latency-ms"
    ) as error:
        run(options)
    assert error.value.exit_code == 3


@pytest.mark.slow
def test_the_whole_path_ends_with_an_export_and_is_not_walked_twice(searched: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(searched, workspace)
    arguments = ("smoke", "--trials", "2", "--out", str(workspace), "--json")
    first = _run(*arguments)
    assert first.returncode == 0, first.stderr
    document = json.loads(first.stdout)
    assert {"arch", "weights", "onnx", "core_ml", "diffusers", "card", "grid"} <= set(document["exported"])
    assert all((ROOT / path).exists() for path in document["exported"].values())
    assert "overall" in document["winner"]["scores"]
    engine = open_engine(f"sqlite:///{workspace}/snapnas.db")
    artifacts = StudyReader(engine).artifacts("smoke", document["winner"]["trial"])
    engine.dispose()
    assert all((workspace / artifact.path).exists() for artifact in artifacts)
    before = _snapshot(workspace / "studies")
    second = _run(*arguments)
    assert (second.returncode, json.loads(second.stdout)) == (0, document)
    assert _snapshot(workspace / "studies") == before
