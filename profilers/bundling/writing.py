"""Writes a bundle: distinct blocks of a space, and whole networks, as checked Core ML packages, packed.

A model's file appears under its name only when it has been converted, checked and packed, so a run that is killed and
repeated converts nothing twice, and a folder with blocks can be given networks later. Conversion is the slow part: a
second of one core for a small block, most of it in coremltools' passes. It runs in as many processes as are asked for,
and a model that kills such a process, as a large one does that finds no memory, is a failure like any other.
"""

import contextlib
import itertools
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import active_children, get_context
from pathlib import Path

from profilers.block_places import telling_order
from profilers.bundling.core_ml_choices import Layout, Units
from profilers.bundling.manifest import (
    JOB_FILE,
    MANIFEST_FILE,
    MANIFESTS_FOLDER,
    RUNNER_FILE,
    SCHEMA_VERSION,
    BundledModel,
    BundleProtocol,
    FailedModel,
    Job,
    Manifest,
    file_sha256,
    read_document,
    write_document,
)
from profilers.bundling.packing import pack
from profilers.needed_memory import counts_of
from profilers.preparing import full_disk_error
from profilers.sentinel import SENTINEL
from profilers.subject import Subject
from profilers.temporary_folder import inherited_folder
from search_space.errors import SnapNASError, UsageError
from search_space.progress import progress
from search_space.space import distinct_archs, reachable_specs
from search_space.spaces import search_space
from search_space.specs import BlockSpec

MODELS_FOLDER = "models"
_BYTES_PER_NUMBER = 2  # float16
_CONVERSIONS_PER_PROCESS = 200  # then a fresh one takes over: the converter keeps some memory of every model
_DIED = "the process that converted it died, perhaps for lack of memory"


@dataclass(frozen=True, kw_only=True)
class WrittenBundle:
    """What a run of `write_bundle` did."""

    manifest: Manifest
    """What the folder now holds."""
    num_converted: int
    """Models that this run converted; the others were there."""
    duration_s: float
    """How long that took."""

    @property
    def packed_bytes(self) -> int:
        return sum(model.packed_bytes for model in self.manifest.models)

    @property
    def weight_bytes(self) -> int:
        return sum(model.weight_bytes for model in self.manifest.models)


def write_bundle(
    folder: Path,
    space_name: str,
    *,
    layout: Layout,
    units: Sequence[Units],
    max_blocks: int | None = None,
    num_networks: int = 0,
    num_processes: int = 0,
) -> WrittenBundle:
    """Writes the bundle of a space, or what is missing of it.

    Args:
        folder: The bundle; an earlier, interrupted run may have begun it.
        space_name: A name of `search_space.spaces`.
        layout: How transformers are laid out.
        units: The compute units that the Mac is asked to measure on.
        max_blocks: Only so many blocks, of every kind some; None: all.
        num_networks: Whole networks beside them, those that `profilers.check` draws as well.
        num_processes: Models that are converted at once, each by a process that it may kill; 0 converts in this one.
    """
    start_s = time.monotonic()
    job = Job(
        schema_version=SCHEMA_VERSION,
        space=space_name,
        layout=layout,
        converter=f"coremltools {version('coremltools')}, torch {version('torch')}",
    )
    _begin(folder, job)
    space = search_space(space_name)
    subjects = [Subject.of_block(spec) for spec in chosen_specs(reachable_specs(space), max_blocks)]
    subjects += [Subject.of_network(arch) for arch in distinct_archs(space, num_networks, seed=0)]
    wanted = list(dict.fromkeys([SENTINEL, *subjects]))
    missing = [subject for subject in wanted if not _model_path(folder, subject).is_file()]
    failures = _convert_all(
        missing, folder, layout=layout, num_processes=num_processes, num_done=len(wanted) - len(missing)
    )
    shutil.copyfile(Path(__file__).with_name(RUNNER_FILE), folder / RUNNER_FILE)
    failed = {failure.subject for failure in failures}
    manifest = Manifest(
        job=job,
        units=tuple(units),
        protocol=BundleProtocol(),
        runner_sha256=file_sha256(folder / RUNNER_FILE),
        sentinel=_bundled(folder, SENTINEL),
        models=tuple(_bundled(folder, subject) for subject in subjects if subject not in failed),
        failures=tuple(failures),
    )
    write_document(folder / MANIFEST_FILE, manifest)
    (folder / MANIFESTS_FOLDER).mkdir(exist_ok=True)
    sha256 = file_sha256(folder / MANIFEST_FILE)
    shutil.copyfile(folder / MANIFEST_FILE, folder / MANIFESTS_FOLDER / f"{sha256}.json")
    return WrittenBundle(
        manifest=manifest, num_converted=len(missing) - len(failures), duration_s=time.monotonic() - start_s
    )


def chosen_specs(specs: Sequence[BlockSpec], max_blocks: int | None) -> list[BlockSpec]:
    """All blocks, or so many of them: those that say most of the others."""
    return list(specs) if max_blocks is None else list(itertools.islice(telling_order(specs), max_blocks))


def _begin(folder: Path, job: Job) -> None:
    """Makes the folder this job's, or sees that it is."""
    path = folder / JOB_FILE
    fix = "give another --out, or remove the folder"
    if path.exists():
        if (begun := read_document(path, Job, what="a bundle's job", fix=fix)) != job:
            differing = [name for name in vars(job) if getattr(job, name) != getattr(begun, name)]
            raise UsageError(f"{folder} holds another bundle: its {', '.join(differing)} differ", fix=fix)
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", allowed="a new folder, or one that this command began", fix=fix)
    (folder / MODELS_FOLDER).mkdir(parents=True)
    write_document(path, job)


def _convert_all(
    subjects: Sequence[Subject], folder: Path, *, layout: Layout, num_processes: int, num_done: int
) -> list[FailedModel]:
    """Converts, checks and packs; returns what failed."""
    failures = []
    total = num_done + len(subjects)
    with progress("converting to Core ML", total=total, unit="model", completed=num_done) as bar:
        for failure in _outcomes(subjects, folder, layout=layout, num_processes=num_processes):
            if failure is not None:
                if failure.subject == SENTINEL:
                    raise SnapNASError(
                        f"the sentinel, which every bundle needs, did not convert: {failure.reason}",
                        fix="the same command tries again; what is converted stays",
                    )
                failures.append(failure)
            bar.advance(1, note=f"{len(failures)} failed" if failures else "")
    return failures


def _outcomes(
    subjects: Sequence[Subject], folder: Path, *, layout: Layout, num_processes: int
) -> Iterator[FailedModel | None]:
    if num_processes == 0:
        for subject in subjects:
            yield _convert(subject, folder, layout)
        return
    left = list(subjects)
    while left:
        with _pool(num_processes) as pool, contextlib.suppress(BrokenProcessPool):  # also while they are handed over
            futures = {pool.submit(_convert, subject, folder, layout): subject for subject in left}
            for future in as_completed(futures):
                if not isinstance(future.exception(), BrokenProcessPool):
                    left.remove(futures[future])
                    yield future.result()
        # Models begin in their order, so what a process died of is among the first that are left.
        suspects, left = left[:num_processes], left[num_processes:]
        for subject in suspects:
            yield _convert_alone(subject, folder, layout)


@contextlib.contextmanager
def _pool(num_processes: int) -> Iterator[Executor]:
    """Processes that convert. An exception, such as Ctrl-C, ends them at once: a network takes minutes."""
    pool = ProcessPoolExecutor(
        num_processes,
        mp_context=get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_DFL),  # which arrives there as well, and is not theirs to report
        max_tasks_per_child=_CONVERSIONS_PER_PROCESS,
    )
    try:
        yield pool
    except BaseException:
        for process in active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _convert_alone(subject: Subject, folder: Path, layout: Layout) -> FailedModel | None:
    """Converts one model with a process to itself, and as much memory as it can have here."""
    with _pool(1) as pool:
        try:
            return pool.submit(_convert, subject, folder, layout).result()
        except BrokenProcessPool:
            return FailedModel(subject=subject, reason=_DIED)


def _convert(subject: Subject, folder: Path, layout: Layout) -> FailedModel | None:
    from deploy.to_core_ml import read_core_ml
    from profilers.backends.torch_modules import one_thread
    from profilers.bundling.models import check_model, write_model

    with inherited_folder("snapnas-converting-", work="") as workplace, one_thread():
        package = workplace / f"{subject.subject_id}.mlpackage"
        try:
            write_model(subject, package, layout=layout)
            check_model(subject, read_core_ml(package), layout=layout)
            pack(package, _model_path(folder, subject))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            if full_disk := full_disk_error(package, reason) or full_disk_error(_model_path(folder, subject), reason):
                raise full_disk from error
            return FailedModel(subject=subject, reason=reason[:1000])  # what cannot be converted is a row as well
    return None


def _bundled(folder: Path, subject: Subject) -> BundledModel:
    path = _model_path(folder, subject)
    return BundledModel(
        model_id=subject.subject_id,
        subject=subject,
        sha256=file_sha256(path),
        packed_bytes=path.stat().st_size,
        weight_bytes=_BYTES_PER_NUMBER * counts_of(subject).num_params,
    )


def _model_path(folder: Path, subject: Subject) -> Path:
    return folder / MODELS_FOLDER / f"{subject.subject_id}.zip"
