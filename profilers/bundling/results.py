"""Takes what a Mac measured into the latency table.

`results.json` comes from another machine and is not trusted. It has to be strict JSON of one schema, made with a bundle
whose manifest we wrote (by its sha256), and it may speak of that bundle's models only. Nothing in it is a result yet:
drift, flags, medians and intervals are computed here, from raw samples and looks at the sentinel, as in any campaign.

Importing the same file twice changes nothing, and a file that has grown since adds what is new: a sample is known by
its model, its time and its milliseconds.
"""

import dataclasses
import datetime
import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from sqlalchemy import Engine

from profilers.backends.core_ml import CoreMLOptions, core_ml_device
from profilers.bundling.core_ml_choices import Units
from profilers.bundling.manifest import (
    MANIFESTS_FOLDER,
    STRICT,
    Manifest,
    ModelId,
    Sha256,
    file_sha256,
    read_document,
)
from profilers.bundling.run_bundle import Machine
from profilers.device import Device
from profilers.environment import Environment, unknown_environment
from profilers.latency_table import LatencyTable
from profilers.load_report import LoadReport
from profilers.measurement import MAX_MS, MIN_MS, Sample
from profilers.protocol import Protocol
from profilers.sentinel import has_moved, local_sentinels_ms
from profilers.subject import Subject
from search_space.errors import UsageError

MAX_RESULTS_BYTES = 256 * 2**20
"""Four compute units of 10,762 blocks, 20 samples each, are 100 MiB."""

_Milliseconds = Annotated[float, Field(ge=MIN_MS, le=MAX_MS)]
_DeviceAndOperator = Annotated[str, Field(pattern=r"^(cpu|gpu|neural_engine) [A-Za-z0-9_.]{1,64}$")]
_Whole = Annotated[int, Field(ge=0, lt=2**31)]
_Text = Annotated[str, Field(pattern=r"^[\w ,.()+@/-]{1,100}$")]
_Sensor = Annotated[str, Field(pattern=r"^[\w ]{1,50}: \d{1,6}$")]


@dataclass(frozen=True, kw_only=True)
class MachineRecord:
    """What was measured on."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT

    target: Literal["mac", "iphone", "ipad"]
    """The Mac, or what was on its cable."""
    hardware: _Text
    """Its name."""
    operating_system: _Text
    """System and version."""
    coremltools: _Text
    """The version that timed it."""


@dataclass(frozen=True, kw_only=True)
class LoadEntry:
    """One model being loaded."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT

    kind: Literal["load"]
    units: Units
    """Compute units asked for."""
    model: ModelId
    """The model."""
    load_ms: Annotated[tuple[_Milliseconds, ...], Field(min_length=1, max_length=100)]
    """Each of its loads."""
    first_run_ms: _Milliseconds
    """The cold start: the first run after loading."""
    placement: Annotated[dict[_DeviceAndOperator, _Whole], Field(max_length=300)] | None
    """How often each compute device runs which operator."""


@dataclass(frozen=True, kw_only=True)
class FailureEntry:
    """One model that the device could not run."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT

    kind: Literal["failure"]
    units: Units
    """Compute units asked for."""
    model: ModelId
    """The model."""
    reason: Annotated[str, Field(max_length=1000, pattern=r"^[\P{C}\t\r\n]*$")]
    """What Core ML said."""


@dataclass(frozen=True, kw_only=True)
class SampleRecord:
    """One sample, in the order of its round."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT

    model: ModelId
    """The model."""
    raw_ms: _Milliseconds
    """Of one run."""
    num_runs: Annotated[int, Field(ge=1, lt=2**31)]
    """In the timed loop."""
    taken_at: Annotated[float, Field(ge=0, le=1e11)]
    """Seconds since 1970."""


@dataclass(frozen=True, kw_only=True)
class ProbeRecord:
    """One look at the sentinel."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT

    position: _Whole
    """Samples of the round that had been taken."""
    raw_ms: _Milliseconds
    """Of one run of the sentinel."""


@dataclass(frozen=True, kw_only=True)
class RoundEntry:
    """One round over the models."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT

    kind: Literal["round"]
    units: Units
    """Compute units asked for."""
    round_index: _Whole
    """Of these compute units."""
    samples: Annotated[tuple[SampleRecord, ...], Field(min_length=1)]
    """In the order they were taken."""
    probes: Annotated[tuple[ProbeRecord, ...], Field(min_length=2)]
    """The first before all samples, the last after them."""

    def __post_init__(self) -> None:
        positions = [probe.position for probe in self.probes]
        if positions[0] != 0 or positions[-1] != len(self.samples) or positions != sorted(positions):
            raise ValueError("the sentinel was not seen before, between and after the samples")


@dataclass(frozen=True, kw_only=True)
class EnvironmentEntry:
    """What the machine was doing when a run of the bundle began or ended."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT

    kind: Literal["environment"]
    units: Units
    """Compute units asked for."""
    recorded_at: Annotated[float, Field(ge=0, le=1e11)]
    """Seconds since 1970."""
    kernel: _Text
    """The kernel's release."""
    load_average: Annotated[float, Field(ge=0, le=1e6)]
    """Runnable processes, mean of the last minute."""
    sensors: Annotated[tuple[_Sensor, ...], Field(max_length=20)]
    """What macOS said of its heat."""
    is_throttled: bool | None
    """Whether it was too hot; None where it said nothing."""
    versions: Annotated[dict[_Text, _Text], Field(max_length=20)]
    """Python and the libraries that took part."""

    def environment(self) -> Environment:
        """As campaigns keep it."""
        recorded_at = datetime.datetime.fromtimestamp(self.recorded_at, datetime.UTC)
        return dataclasses.replace(
            unknown_environment(),
            recorded_at=recorded_at.isoformat(timespec="seconds"),
            kernel=self.kernel,
            load_average=self.load_average,
            sensors=self.sensors,
            is_throttled=self.is_throttled,
            versions=self.versions,
        )


Entry = LoadEntry | FailureEntry | RoundEntry | EnvironmentEntry


@dataclass(frozen=True, kw_only=True)
class BundleResults:
    """A whole `results.json`."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT

    schema_version: Literal[2]
    """Of bundles and their results."""
    manifest_sha256: Sha256
    """The bundle that was measured."""
    machine: MachineRecord
    """What measured it."""
    entries: tuple[Annotated[Entry, Field(discriminator="kind")], ...]
    """Everything that happened, in order."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import brought."""

    num_new_samples: dict[str, int]
    """By device name; 0 where all of them were known."""
    num_failed: int
    """Models that the device could not run; a model on other compute units counts again."""


def import_results(path: Path, bundle_folder: Path, engine: Engine) -> Imported:
    """Puts the samples of `results.json` into the table.

    Args:
        path: The file that came back.
        bundle_folder: The bundle as it was written here.
        engine: From `profilers.storage.open_engine`.

    Raises:
        UsageError: The file is malformed, or not a result of this bundle.
    """
    manifest, results = read_results(path, bundle_folder)
    table = LatencyTable(engine)
    num_new: dict[str, int] = {}
    num_failed = 0
    for units in dict.fromkeys(entry.units for entry in results.entries):
        entries = [entry for entry in results.entries if entry.units == units]
        options = CoreMLOptions(units=units, layout=manifest.job.layout, target=results.machine.target)
        device = core_ml_device(Machine(**dataclasses.asdict(results.machine)), options)
        states = [entry.environment() for entry in entries if isinstance(entry, EnvironmentEntry)]
        importing = _Importing(table, device, manifest, states or [unknown_environment()])
        num_new[device.name] = importing.add_rounds([entry for entry in entries if isinstance(entry, RoundEntry)])
        importing.add_loads([entry for entry in entries if isinstance(entry, LoadEntry)])
        num_failed += importing.add_failures([entry for entry in entries if isinstance(entry, FailureEntry)])
    return Imported(num_new_samples=num_new, num_failed=num_failed)


def read_results(path: Path, bundle_folder: Path) -> tuple[Manifest, BundleResults]:
    """Reads the results of a bundle of ours.

    Raises:
        UsageError: The file is malformed, or not a result of this bundle.
    """
    send_again = "send the file that run_bundle.py wrote"
    if path.is_file() and path.stat().st_size > MAX_RESULTS_BYTES:
        raise UsageError(f"{path} is larger than {MAX_RESULTS_BYTES} bytes", fix=send_again)
    results = read_document(path, BundleResults, what="results of a bundle", fix=send_again)
    manifest_path = bundle_folder / MANIFESTS_FOLDER / f"{results.manifest_sha256}.json"
    fix = "give the bundle's folder with --out, or the --space and --device it was written for"
    if not manifest_path.is_file() or file_sha256(manifest_path) != results.manifest_sha256:
        raise UsageError(f"{path} was measured with another bundle than {bundle_folder}", fix=fix)
    manifest = read_document(manifest_path, Manifest, what="a bundle's manifest", fix=fix)
    models = {model.model_id for model in manifest.models}
    strangers = {model for entry in results.entries for model in _models(entry)} - models
    if strangers:
        raise UsageError(f"{path} speaks of {min(strangers)}, which is not in the bundle", fix="measure again")
    return manifest, results


def _models(entry: Entry) -> Iterable[str]:
    match entry:
        case RoundEntry():
            return [sample.model for sample in entry.samples]
        case LoadEntry() | FailureEntry():
            return [entry.model]
        case EnvironmentEntry():
            return []


class _Importing:
    """One device of one results file on its way into the table."""

    def __init__(
        self, table: LatencyTable, device: Device, manifest: Manifest, environments: Sequence[Environment]
    ) -> None:
        self._environments = environments  # in the order of time
        self._table = table
        self._device = device
        self._manifest = manifest
        self._subjects = {model.model_id: model.subject for model in manifest.models}
        table.add_device(device)

    def add_rounds(self, rounds: Iterable[RoundEntry]) -> int:
        """Adds the samples that the table lacks; returns how many."""
        found = self._samples(list(rounds))
        known = self._table.samples(self._device, found)
        known_identities = {subject: set(map(_identity, samples)) for subject, samples in known.items()}
        new = {
            subject: [sample for sample in samples if _identity(sample) not in known_identities.get(subject, ())]
            for subject, samples in found.items()
        }
        num_new = sum(map(len, new.values()))
        campaign_id = None
        if num_new:
            protocol = json.dumps(dataclasses.asdict(self._manifest.protocol))
            before = self._environments[0]
            campaign_id = self._table.start_campaign(self._device, protocol=protocol, environment=before)
            self._table.add_samples(self._device, new, campaign_id=campaign_id)
        enough = [subject for subject in found if len(found[subject]) >= self._manifest.protocol.min_rounds]
        records = self._table.records(self._device, enough)
        if num_new or not all(record.is_settled and record.has_latency for record in records.values()):
            # without new samples: an import was killed here, or another file's failure stands in their place
            self._table.settle(self._device, enough)
            self._table.mark_settled(self._device, enough)
        if campaign_id is not None:
            self._table.finish_campaign(campaign_id, environment=self._environments[-1])
        return num_new

    def add_loads(self, loads: Iterable[LoadEntry]) -> None:
        """Keeps how long loading took and where Core ML put the operators."""
        reports = {
            self._subjects[entry.model]: LoadReport(
                load_ms=entry.load_ms[0],
                first_run_ms=entry.first_run_ms,
                peak_memory_mib=None,
                placement=entry.placement,
            )
            for entry in loads
        }
        self._table.add_load_reports(self._device, reports)

    def add_failures(self, failures: Iterable[FailureEntry]) -> int:
        """Records what failed and has no latency; returns how many those are.

        A model with enough samples runs on this device: its failure was chance, or another file's, and files come in
        any order.
        """
        reasons = {self._subjects[entry.model]: entry.reason for entry in failures}
        records = self._table.records(self._device, reasons)
        failed = [subject for subject in reasons if subject not in records or not records[subject].has_latency]
        for subject in failed:
            self._table.fail(self._device, subject, reason=reasons[subject])
        return len(failed)

    def _samples(self, rounds: list[RoundEntry]) -> dict[Subject, list[Sample]]:
        """Every sample with the sentinel's drift around it."""
        if not rounds:
            return {}
        reference_ms = self._table.sentinel_ms(self._device)
        if reference_ms is None:
            reference_ms = statistics.median(probe.raw_ms for entry in rounds for probe in entry.probes)
            self._table.set_sentinel_ms(self._device, reference_ms)
        found: dict[Subject, list[Sample]] = {}
        for entry in rounds:
            probes_ms = [probe.raw_ms for probe in entry.probes]
            sentinels_ms = local_sentinels_ms(
                probes_ms, [probe.position for probe in entry.probes], num_samples=len(entry.samples)
            )
            is_flagged = has_moved(probes_ms, Protocol())
            for position, (record, sentinel_ms) in enumerate(zip(entry.samples, sentinels_ms, strict=True)):
                sample = Sample(
                    raw_ms=record.raw_ms,
                    num_runs=record.num_runs,
                    drift=sentinel_ms / reference_ms,
                    round_index=entry.round_index,
                    position=position,
                    taken_at=record.taken_at,
                    is_flagged=is_flagged,
                )
                found.setdefault(self._subjects[record.model], []).append(sample)
        return found


def _identity(sample: Sample) -> tuple[float, float]:
    return sample.taken_at, sample.raw_ms
