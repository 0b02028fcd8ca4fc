"""What comes back is believed only as far as it fits the bundle, and counts once."""

import json
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from profilers.backends.core_ml import CoreMLOptions, core_ml_device
from profilers.backends.exact import exact_latency_ms
from profilers.bundle import BundleOptions
from profilers.bundle import bundle as bundle_command
from profilers.bundling.manifest import Manifest, read_document
from profilers.bundling.results import Imported, import_results
from profilers.bundling.run_bundle import Machine
from profilers.bundling.writing import write_bundle
from profilers.estimating import estimate
from profilers.latency_table import LatencyTable
from profilers.measuring import measure_space
from profilers.protocol import FORMULA_PROTOCOL
from profilers.tables import CampaignRow
from profilers.transferring import transfer_space
from search_space.arch_json import arch_from_json
from search_space.errors import UsageError
from search_space.space import random_arch
from search_space.spaces import search_space
from search_space.walk import block_specs
from tests.profilers.bundling.conftest import MACHINE, BreakingRunner, PretendRunner, pretend_to_measure

DEVICE = core_ml_device(Machine(**MACHINE), CoreMLOptions(units="cpu_and_ne"))


def _change(path: Path, change: Callable[[Any], object]) -> None:
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


def _manifest(bundle: Path) -> Manifest:
    return read_document(bundle / "manifest.json", Manifest, what="a manifest", fix="")


def _entry(document: Any, kind: str) -> Any:
    """The last entry of a kind."""
    return [entry for entry in document["entries"] if entry["kind"] == kind][-1]


def test_samples_become_rows_of_the_device(results: Path, bundle: Path, sqlite_engine: Engine) -> None:
    imported = import_results(results, bundle, sqlite_engine)
    assert imported.num_new_samples == {"core-ml:units=cpu_and_ne": 16}
    assert imported.num_failed == 0
    table = LatencyTable(sqlite_engine)
    assert table.devices() == (DEVICE,)
    manifest = _manifest(bundle)
    measured = [table.measurement(DEVICE, model.subject) for model in manifest.models]
    assert [round(measurement.median_ms, 6) for measurement in measured if measurement] == [2.0, 3.0]
    assert table.sentinel_ms(DEVICE) == pytest.approx(1.0)
    with Session(sqlite_engine) as session:
        campaign = session.scalars(select(CampaignRow)).one()
    for stored in (campaign.environment_before, campaign.environment_after):
        environment = json.loads(stored or "")
        assert environment["sensors"] == ["CPU_Speed_Limit: 100"]
        assert environment["versions"]["coremltools"] == version("coremltools")
        assert environment["is_throttled"] is False


def test_a_second_import_changes_nothing(results: Path, bundle: Path, sqlite_engine: Engine) -> None:
    import_results(results, bundle, sqlite_engine)
    table = LatencyTable(sqlite_engine)
    manifest = _manifest(bundle)
    subjects = [model.subject for model in manifest.models]
    before = table.samples(DEVICE, subjects), table.records(DEVICE, subjects)
    assert import_results(results, bundle, sqlite_engine).num_new_samples == {DEVICE.name: 0}
    assert (table.samples(DEVICE, subjects), table.records(DEVICE, subjects)) == before


def test_an_import_that_was_killed_before_the_medians_is_mended(
    results: Path, bundle: Path, sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(LatencyTable, "settle", die)
        with pytest.raises(KeyboardInterrupt):
            import_results(results, bundle, sqlite_engine)
    table = LatencyTable(sqlite_engine)
    assert {record.status for record in table.blocks(DEVICE).values()} == {"sampling"}
    assert import_results(results, bundle, sqlite_engine).num_new_samples == {DEVICE.name: 0}
    assert "sampling" not in {record.status for record in table.blocks(DEVICE).values()}


def test_results_survive_a_bundle_that_was_written_again(results: Path, bundle: Path, sqlite_engine: Engine) -> None:
    write_bundle(bundle, "tiny", layout="plain", units=["all"], max_blocks=2)  # another manifest, the same models
    assert import_results(results, bundle, sqlite_engine).num_new_samples == {DEVICE.name: 16}


def test_a_tampered_manifest_of_ours_is_none(results: Path, bundle: Path, sqlite_engine: Engine) -> None:
    for path in (bundle / "manifests").iterdir():
        path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(UsageError, match="another bundle"):
        import_results(results, bundle, sqlite_engine)


def test_a_failed_model_is_a_failed_row(results: Path, bundle: Path, sqlite_engine: Engine) -> None:
    manifest = _manifest(bundle)
    model = manifest.models[0]
    failure = {"kind": "failure", "units": "all", "model": model.model_id, "reason": "RuntimeError: no"}
    _change(results, lambda document: document["entries"].append(failure))
    assert import_results(results, bundle, sqlite_engine).num_failed == 1
    device = core_ml_device(Machine(**MACHINE), CoreMLOptions())
    assert LatencyTable(sqlite_engine).records(device, [model.subject])[model.subject].status == "failed"


@pytest.fixture
def failed_results(written_bundle: Path, tmp_path: Path) -> Path:
    """What the same Mac gave another time, when the first model could not be loaded."""
    bundle = shutil.copytree(written_bundle, tmp_path / "another_time")
    first = _manifest(bundle).models[0]

    def load(name: str) -> PretendRunner:
        if name == first.model_id:
            raise RuntimeError("too little memory")
        return PretendRunner(0.003)

    return pretend_to_measure(bundle, load)


@pytest.mark.parametrize("order", ["mf", "fmf"])
def test_a_failure_takes_no_latency_away_whatever_comes_first(
    order: str, results: Path, failed_results: Path, bundle: Path, sqlite_engine: Engine
) -> None:
    files = {"m": results, "f": failed_results}
    num_failed = [import_results(files[name], bundle, sqlite_engine).num_failed for name in order]
    assert num_failed == ([0, 0] if order == "mf" else [1, 0, 0])
    subject, table = _manifest(bundle).models[0].subject, LatencyTable(sqlite_engine)
    assert table.records(DEVICE, [subject])[subject].has_latency


def test_a_latency_that_a_failure_has_hidden_comes_back(results: Path, bundle: Path, sqlite_engine: Engine) -> None:
    import_results(results, bundle, sqlite_engine)
    subject, table = _manifest(bundle).models[0].subject, LatencyTable(sqlite_engine)
    table.fail(DEVICE, subject, reason="as an earlier version left it")
    import_results(results, bundle, sqlite_engine)
    assert table.records(DEVICE, [subject])[subject].has_latency


def test_the_command_says_how_many_failed(
    failed_results: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = f"sqlite:///{tmp_path / 'command.db'}"
    bundle_command(BundleOptions(out=str(bundle), import_results=str(failed_results), storage=storage))
    assert "could not run there: 1" in capsys.readouterr().err


def test_models_that_all_break_in_a_round_are_failed_rows(bundle: Path, sqlite_engine: Engine) -> None:
    subjects = {model.model_id: model.subject for model in _manifest(bundle).models}
    breaks_in_its_first_sample = 27  # runs, of which a warm-up takes 26 or 27, and a sample two

    def load(name: str) -> PretendRunner:
        return BreakingRunner(breaks_in_its_first_sample) if name in subjects else PretendRunner(0.001)

    imported = import_results(pretend_to_measure(bundle, load), bundle, sqlite_engine)
    assert imported == Imported(num_new_samples={DEVICE.name: 0}, num_failed=2)
    records = LatencyTable(sqlite_engine).records(DEVICE, subjects.values())
    assert {record.reason for record in records.values()} == {"RuntimeError: Unable to compute the prediction"}


def test_whatever_core_ml_says_of_a_failure_can_be_read(bundle: Path, sqlite_engine: Engine) -> None:
    subjects = {model.model_id: model.subject for model in _manifest(bundle).models}

    def load(name: str) -> PretendRunner:
        if name in subjects:
            raise RuntimeError("\x1b[1mtoo\nlarge\ud800")
        return PretendRunner(0.001)

    assert import_results(pretend_to_measure(bundle, load), bundle, sqlite_engine).num_failed == 2
    records = LatencyTable(sqlite_engine).records(DEVICE, subjects.values())
    assert {record.reason for record in records.values()} == {"RuntimeError:  [1mtoo large "}


def test_a_mac_of_intel_has_a_name_too(results: Path, bundle: Path, sqlite_engine: Engine) -> None:
    hardware = "Intel(R) Core(TM) i9-9880H CPU @ 2.30GHz, MacBookPro16,1"
    _change(results, lambda document: document["machine"].update(hardware=hardware))
    import_results(results, bundle, sqlite_engine)
    assert [device.hardware for device in LatencyTable(sqlite_engine).devices()] == [hardware]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda document: document.update(extra=1), "extra"),
        (lambda document: document.update(schema_version=1), "schema_version"),
        (lambda document: document.update(manifest_sha256="0" * 64), "another bundle"),
        (lambda document: document["machine"].update(hardware="<script>"), "hardware"),
        (lambda document: _entry(document, "load").update(model="../../etc/passwd"), "model"),
        (lambda document: _entry(document, "load").update(model="0" * 16), "not in the bundle"),
        (lambda document: _entry(document, "round").update(units="npu"), "units"),
        (lambda document: _entry(document, "round")["samples"][0].update(raw_ms=-1.0), "raw_ms"),
        (lambda document: _entry(document, "round")["samples"][0].update(raw_ms=float("inf")), "raw_ms"),
        (lambda document: _entry(document, "round")["samples"][0].update(num_runs="1"), "num_runs"),
        (lambda document: _entry(document, "round")["probes"].pop(), "sentinel|probes"),
        (lambda document: _entry(document, "environment").update(kernel="<script>"), "kernel"),
        (lambda document: _entry(document, "environment").update(sensors=["=cmd()"]), "sensors"),
    ],
)
def test_anything_else_is_refused(
    results: Path, bundle: Path, sqlite_engine: Engine, change: Callable[[Any], object], complaint: str
) -> None:
    _change(results, change)
    with pytest.raises(UsageError, match=complaint) as refused:
        import_results(results, bundle, sqlite_engine)
    assert str(refused.value).count("\n") <= 2
    assert LatencyTable(sqlite_engine).devices() == ()


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_document_is_refused(results: Path, bundle: Path, sqlite_engine: Engine, content: bytes) -> None:
    results.write_bytes(content)
    with pytest.raises(UsageError, match="not results of a bundle"):
        import_results(results, bundle, sqlite_engine)


@pytest.mark.slow
def test_networks_of_a_bundle_transfer_another_table_to_the_mac(tmp_path: Path, sqlite_engine: Engine) -> None:
    written = write_bundle(
        tmp_path / "bundle", "tiny", layout="plain", units=["cpu_and_ne"], max_blocks=0, num_networks=3
    )
    archs = {model.model_id: arch_from_json(model.subject.text) for model in written.manifest.models}
    runs_s = {
        name: sum(map(exact_latency_ms, block_specs(arch))) / 500  # twice as long as the device "exact"
        for name, arch in archs.items()
    }
    results = pretend_to_measure(tmp_path / "bundle", lambda name: PretendRunner(runs_s.get(name, 0.001)))
    assert import_results(results, tmp_path / "bundle", sqlite_engine).num_failed == 0
    space = search_space("tiny")
    measure_space(space, "exact", sqlite_engine, protocol=FORMULA_PROTOCOL)
    report = transfer_space(space, "exact", DEVICE.name, sqlite_engine, num_networks=3)
    assert report.target == DEVICE
    assert report.agreements[0].mape_percent == pytest.approx(50)  # the blocks as they are
    assert report.correction.judged.mape_percent < 0.1
    unseen = random_arch(space, 1000)
    found = estimate(unseen, LatencyTable(sqlite_engine), DEVICE, source=report.source)
    assert found.latency_ms == pytest.approx(2 * sum(map(exact_latency_ms, block_specs(unseen))), rel=1e-3)
