"""A bundle holds what it names, is continued and not repeated, and belongs to one job."""

import zipfile
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from profilers.bundling import writing
from profilers.bundling.manifest import FailedModel, Manifest, file_sha256, read_document
from profilers.bundling.writing import MODELS_FOLDER, chosen_specs, write_bundle
from profilers.subject import Subject
from search_space.errors import SnapNASError, UsageError
from search_space.space import reachable_specs
from search_space.spaces import search_space


def _manifest(folder: Path) -> Manifest:
    return read_document(folder / "manifest.json", Manifest, what="a manifest", fix="")


def test_every_file_is_named_with_its_hash(written_bundle: Path) -> None:
    manifest = _manifest(written_bundle)
    assert manifest.failures == ()
    assert len(manifest.models) == 2
    assert manifest.units == ("cpu_and_ne",)
    for model in (manifest.sentinel, *manifest.models):
        path = written_bundle / "models" / f"{model.model_id}.zip"
        assert (file_sha256(path), path.stat().st_size) == (model.sha256, model.packed_bytes)
        assert model.model_id == model.subject.subject_id
        with zipfile.ZipFile(path) as archive:
            assert {"Manifest.json", "Data/com.apple.CoreML/model.mlmodel"} <= set(archive.namelist())
    assert manifest.runner_sha256 == file_sha256(written_bundle / "run_bundle.py")
    assert sorted(path.name for path in written_bundle.iterdir()) == [
        "job.json",
        "manifest.json",
        "manifests",
        "models",
        "run_bundle.py",
    ]


def test_only_what_is_missing_is_converted(bundle: Path) -> None:
    before = _manifest(bundle)
    (bundle / "models" / f"{before.models[1].model_id}.zip").unlink()
    (bundle / "manifest.json").unlink()
    times = {path: path.stat().st_mtime_ns for path in (bundle / "models").iterdir()}
    written = write_bundle(bundle, "tiny", layout="plain", units=["cpu_and_ne"], max_blocks=2)
    assert written.num_converted == 1
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert [model.model_id for model in written.manifest.models] == [model.model_id for model in before.models]
    assert write_bundle(bundle, "tiny", layout="plain", units=["all"], max_blocks=2).num_converted == 0


def test_another_job_does_not_go_into_the_same_folder(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="its layout differ"):
        write_bundle(bundle, "tiny", layout="split_einsum", units=["all"], max_blocks=1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(UsageError, match="not empty"):
        write_bundle(tmp_path / "other", "tiny", layout="plain", units=["all"], max_blocks=1)


def test_the_same_folder_takes_more_and_less(bundle: Path) -> None:
    before = _manifest(bundle)
    grown = write_bundle(bundle, "tiny", layout="plain", units=["cpu_and_ne"], max_blocks=3)
    assert grown.num_converted == 1
    assert {model.subject for model in before.models} < {model.subject for model in grown.manifest.models}
    shrunk = write_bundle(bundle, "tiny", layout="plain", units=["cpu_and_ne"], max_blocks=2)
    assert (shrunk.num_converted, shrunk.manifest) == (0, before)


DEADLY = Subject.of_block(chosen_specs(reachable_specs(search_space("tiny")), 1)[0])


class PretendPool(Executor):
    """Converts nothing, and dies of one model as a pool of processes does: with all that have not ended by then."""

    def __init__(self, num_processes: int) -> None:
        self._is_broken = False

    def submit(self, convert: object, subject: Subject, folder: Path, *_: object) -> Future[None]:  # type: ignore[override]
        future = Future[None]()
        self._is_broken = self._is_broken or subject == DEADLY
        if self._is_broken:
            future.set_exception(BrokenProcessPool("A process in the process pool was terminated abruptly"))
        else:
            (folder / MODELS_FOLDER / f"{subject.subject_id}.zip").write_bytes(b"converted")
            future.set_result(None)
        return future


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_model_that_kills_its_process_is_a_failure_and_the_others_go_on(
    num_processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_pool", PretendPool)
    written = write_bundle(
        tmp_path / "bundle", "tiny", layout="plain", units=["all"], max_blocks=4, num_processes=num_processes
    )
    (failure,) = written.manifest.failures
    assert failure.subject == DEADLY
    assert "died" in failure.reason
    assert len(written.manifest.models) == 3


def test_where_nothing_converts_the_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(subject: Subject, *_: object) -> FailedModel:
        return FailedModel(subject=subject, reason="ImportError: no torch here")

    monkeypatch.setattr(writing, "_convert", fail)
    with pytest.raises(SnapNASError, match="sentinel.*ImportError: no torch here"):
        write_bundle(tmp_path / "bundle", "tiny", layout="plain", units=["all"], max_blocks=1)


def test_few_blocks_are_some_of_every_kind() -> None:
    specs = reachable_specs(search_space("tiny"))
    assert {spec.kind for spec in chosen_specs(specs, 7)} == {spec.kind for spec in specs}
    assert len(chosen_specs(specs, 20)) == 20
    assert chosen_specs(specs, 0) == []
    assert set(chosen_specs(specs, None)) == set(specs)
