"""From quarantine into the latency table: a person says yes, after seeing what looks wrong.

A page can send any number it likes. What no check of one upload can see, a comparison with other devices can: blocks
that cost ten times as much here as their neighbours did, or a tenth. Those are named, and not taken unasked.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from profilers.collecting.jobs import Job, JobStore
from profilers.collecting.plan import MAX_GROUP_BYTES, PORTION_SIZE, PROTOCOL, Received, samples_of, sentinel_ms
from profilers.device import Device
from profilers.environment import unknown_environment
from profilers.latency_table import LatencyTable
from profilers.measurement import Sample, measurement_of
from profilers.subject import Subject
from profilers.tables import SampleRow
from search_space.errors import UsageError

OUTLIER_FACTOR = 5.0
"""Off the usual ratio between two devices by more than this, a block is an outlier. Honest devices differ by 2 to 3."""
_MIN_SHARED_BLOCKS = 10
_RULES = ("min_rounds", "max_rounds", "sentinel_every", "num_passes", "max_drift")  # those that a page follows


@dataclass(frozen=True, kw_only=True)
class Outlier:
    """A block or network whose latency does not fit the rest of its device."""

    subject: Subject
    """The block or network."""
    median_ms: float
    """As the phone measured it."""
    expected_ms: float
    """From the nearest of the other devices, times the usual ratio of the two."""


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """What a job brought into the table."""

    device: Device
    """The device as it is stored."""
    num_measured: int
    """Blocks and networks with a latency."""
    num_failed: int
    """Those that the phone could not run."""
    num_left: int
    """Those that an unfinished job has too few samples of: the table still lacks them."""


def accept(job: Job, store: JobStore, table: LatencyTable, engine: Engine, *, with_outliers: bool = False) -> Accepted:
    """Moves a job's samples into the latency table. Called again after a kill it goes on, and adds nothing twice.

    An unfinished job is closed by this. What has too few samples for a latency is left out: the table still lacks it,
    and the next job asks for it.

    Raises:
        UsageError: The job has nothing to take, was rejected, or has outliers and those are not wanted.
    """
    if job.device is None or job.plan is None or job.status in ("waiting", "rejected"):
        raise UsageError(f"the job {job.job_id} is {job.status}", allowed="a job that a page measured for")
    if job.status == "collecting":
        _takings(job, store.received(job), table, with_outliers=with_outliers)  # what is refused leaves it open
        store.close(job)
    received = store.received(job)
    samples, failures = _takings(job, received, table, with_outliers=with_outliers)
    table.add_device(job.device)
    campaign_id = _campaign(job, store, table)
    if table.sentinel_ms(job.device) is None and samples:
        table.set_sentinel_ms(job.device, sentinel_ms(received))
    if not _has_samples(engine, campaign_id):
        table.add_samples(job.device, samples, campaign_id=campaign_id)
    table.settle(job.device, samples)
    table.mark_settled(job.device, samples)
    failed = {subject: failures[subject.subject_id] for subject in job.plan.subjects if subject.subject_id in failures}
    records = table.records(job.device, failed)
    for subject, reason in failed.items():
        if subject not in records or not records[subject].has_latency:  # another job may have brought one
            table.fail(job.device, subject, reason=f"in the browser: {reason}")
    table.finish_campaign(campaign_id, environment=unknown_environment())
    store.set_accepted(job)
    num_left = len(job.plan.subjects) - len(samples) - len(failures)
    return Accepted(device=job.device, num_measured=len(samples), num_failed=len(failures), num_left=num_left)


def _takings(
    job: Job, received: Sequence[Received], table: LatencyTable, *, with_outliers: bool
) -> tuple[dict[Subject, list[Sample]], dict[str, str]]:
    """The samples of every subject that has enough of them and did not fail, and the reasons of those that did, by key.

    Raises:
        UsageError: An unfinished job has no such samples, or there are outliers and those are not wanted.
    """
    assert job.device is not None
    assert job.plan is not None
    samples, failures = samples_of(job.plan, received, reference_ms=table.sentinel_ms(job.device))
    samples = {
        subject: taken
        for subject, taken in samples.items()
        if len(taken) >= PROTOCOL.min_rounds and subject.subject_id not in failures
    }
    if not samples and job.status == "collecting":
        raise UsageError(
            f"nothing of the job {job.job_id} has {PROTOCOL.min_rounds} samples yet",
            fix="let its page go on, or --reject it",
        )
    found = outliers(job.device, samples, table)
    if found and not with_outliers and job.status != "accepted":
        raise UsageError(
            f"{len(found)} of {len(samples)} {job.what} of the job {job.job_id} do not fit what other devices say",
            fix="look at them with --list, then --accept again and --with-outliers, or --reject",
        )
    return samples, failures


def outliers(device: Device, samples: Mapping[Subject, Sequence[Sample]], table: LatencyTable) -> tuple[Outlier, ...]:
    """The blocks and networks that fit none of the other devices in the table."""
    medians_ms = {subject: measurement_of(taken).median_ms for subject, taken in samples.items()}
    expectations = [
        expected
        for other in table.devices()
        if other.device_id != device.device_id and (expected := _expected_ms(medians_ms, other, table))
    ]
    found = []
    for subject, median_ms in medians_ms.items():
        candidates_ms = [expected[subject] for expected in expectations if subject in expected]
        if not candidates_ms:
            continue
        nearest_ms = min(candidates_ms, key=lambda expected_ms: max(expected_ms / median_ms, median_ms / expected_ms))
        if max(nearest_ms / median_ms, median_ms / nearest_ms) > OUTLIER_FACTOR:
            found.append(Outlier(subject=subject, median_ms=median_ms, expected_ms=nearest_ms))
    return tuple(found)


def _expected_ms(medians_ms: Mapping[Subject, float], other: Device, table: LatencyTable) -> dict[Subject, float]:
    """What another device makes us expect: its latencies times the median ratio. Empty where little is shared."""
    records = table.records(other, medians_ms)
    shared = {subject: record.median_ms for subject, record in records.items() if record.has_latency}
    if len(shared) < _MIN_SHARED_BLOCKS:
        return {}
    usual_ratio = statistics.median(medians_ms[subject] / other_ms for subject, other_ms in shared.items())
    return {subject: usual_ratio * other_ms for subject, other_ms in shared.items()}


def _campaign(job: Job, store: JobStore, table: LatencyTable) -> int:
    """The campaign that the job's samples belong to, opened on the first try."""
    assert job.device is not None
    if job.campaign_id is not None:
        return job.campaign_id
    assert job.plan is not None
    provenance = {
        "source": "a page, accepted by a person",
        "collected_job": job.job_id,
        **{name: getattr(PROTOCOL, name) for name in _RULES},
        "max_group_bytes": MAX_GROUP_BYTES,
        "portion_size": PORTION_SIZE,
        "seed": job.plan.seed,
    }
    campaign_id = table.start_campaign(job.device, protocol=json.dumps(provenance), environment=unknown_environment())
    if not store.set_campaign(job, campaign_id):
        raise UsageError(
            f"the job {job.job_id} was accepted or rejected meanwhile", fix="python -m profilers.collect --list"
        )
    return campaign_id


def _has_samples(engine: Engine, campaign_id: int) -> bool:
    with Session(engine) as session:
        query = select(sqlalchemy.func.count()).where(SampleRow.campaign_id == campaign_id)
        return bool(session.scalar(query))
