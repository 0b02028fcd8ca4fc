import dataclasses
import json
from collections.abc import Collection

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from profilers.backends.exact import exact_latency_ms
from profilers.checking import check_space
from profilers.collecting import phone as phone_module
from profilers.collecting.accepting import accept, outliers
from profilers.collecting.application import CollectingApplication
from profilers.collecting.commands import reject_job
from profilers.collecting.jobs import Job, JobStore
from profilers.collecting.plan import samples_of
from profilers.device import Device
from profilers.environment import record_environment
from profilers.estimating import estimate
from profilers.latency_table import LatencyTable
from profilers.measurement import Sample
from profilers.subject import Subject
from profilers.tables import CampaignRow
from search_space.errors import UsageError
from search_space.space import distinct_archs, random_arch, reachable_specs
from search_space.spaces import search_space
from search_space.walk import block_specs
from tests.profilers.collecting.conftest import HAS_RUNTIME, Phone, asked_keys


def sample(raw_ms: float) -> Sample:
    return Sample(raw_ms=raw_ms, num_runs=1, drift=1, round_index=0, position=0, taken_at=1e9, is_flagged=False)


def add_other_device(table: LatencyTable, phone: Phone, *, times: float) -> Device:
    """A device that measured the whole space, each block `times` as slow as the phone."""
    device = Device(
        name="other",
        backend="exact",
        hardware="none",
        operating_system="none",
        runtime="none 1",
        precision="fp32",
        threads=1,
    )
    subjects = [Subject.of_block(spec) for spec in reachable_specs(search_space("tiny"))]
    table.add_device(device)
    campaign_id = table.start_campaign(device, protocol="{}", environment=record_environment())
    samples = {subject: [sample(times * phone.latency_ms(subject.subject_id, 0))] * 2 for subject in subjects}
    table.add_samples(device, samples, campaign_id=campaign_id)
    table.finish(device, subjects)
    return device


def test_accepted_samples_are_rows_like_any_others(
    phone: Phone, store: JobStore, table: LatencyTable, collecting_engine: Engine
) -> None:
    phone.measure_everything()
    (job,) = store.jobs()
    accepted = accept(job, store, table, collecting_engine)
    assert accepted.num_measured == 12
    assert table.devices() == (job.device,)
    assert job.plan is not None
    assert job.device is not None
    for subject in job.plan.subjects:
        measurement = table.measurement(job.device, subject)
        assert measurement is not None
        assert measurement.median_ms == pytest.approx(phone.latency_ms(subject.subject_id, 0))
    assert table.sentinel_ms(job.device) == 1.0
    assert store.job(job.job_id).status == "accepted"


def test_accepting_twice_adds_nothing(
    phone: Phone, store: JobStore, table: LatencyTable, collecting_engine: Engine
) -> None:
    phone.measure_everything()
    (job,) = store.jobs()
    assert job.device is not None
    assert job.plan is not None
    accept(job, store, table, collecting_engine)
    before = table.samples(job.device, job.plan.subjects)
    accept(store.job(job.job_id), store, table, collecting_engine)
    assert table.samples(job.device, job.plan.subjects) == before


def test_accepting_goes_on_after_a_kill_and_what_was_begun_is_not_rejected(
    phone: Phone, store: JobStore, table: LatencyTable, collecting_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone.measure_everything()
    (job,) = store.jobs()
    assert job.device is not None
    assert job.plan is not None

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for step in ("add_samples", "settle", "finish_campaign"):
        with monkeypatch.context() as patch:
            patch.setattr(LatencyTable, step, die)
            with pytest.raises(KeyboardInterrupt):
                accept(store.job(job.job_id), store, table, collecting_engine)
        with pytest.raises(UsageError, match="in part"):
            reject_job(collecting_engine, job.job_id)
    assert accept(store.job(job.job_id), store, table, collecting_engine).num_measured == 12
    assert store.job(job.job_id).status == "accepted"
    num_samples = sum(map(len, table.samples(job.device, job.plan.subjects).values()))
    assert num_samples == sum(len(item.portion.samples) for item in store.received(job))


@pytest.mark.skipif(not HAS_RUNTIME, reason="needs scripts/install_browser_runtime")
def test_an_unfinished_job_gives_what_has_a_latency_and_ends(
    application: CollectingApplication, store: JobStore, table: LatencyTable, collecting_engine: Engine
) -> None:
    _, token = store.create(space="tiny", device_name="", max_blocks=50)  # two portions a round
    phone = Phone(application, token)
    _, document = phone.claim()
    while (document["work"]["round_index"], document["work"]["portion_index"]) != (7, 1):
        _, document = phone.send(phone.portion(document))
    (job,) = store.jobs()
    assert job.device is not None
    accepted = accept(job, store, table, collecting_engine)
    assert (accepted.num_measured, accepted.num_left) == (48, 2), "two blocks have seven samples"
    assert phone.send(phone.portion(document))[0] == 409
    status, closed = phone.job()
    assert (status, closed["work"]) == (200, None)
    coverage = table.coverage(reachable_specs(search_space("tiny")), job.device)
    assert len(coverage.known) == 48
    missing = {Subject.of_block(spec).subject_id for spec in coverage.missing}
    assert missing >= set(asked_keys(document["work"])), "the next job asks for them"


def test_a_job_without_a_latency_is_not_accepted_and_goes_on(
    phone: Phone, store: JobStore, table: LatencyTable, collecting_engine: Engine
) -> None:
    _, document = phone.claim()
    _, document = phone.send(phone.portion(document))
    (job,) = store.jobs()
    with pytest.raises(UsageError, match="8 samples yet"):
        accept(job, store, table, collecting_engine)
    assert table.devices() == ()
    assert phone.send(phone.portion(document))[0] == 201


def test_a_campaign_says_what_held_on_the_phone(
    phone: Phone, store: JobStore, table: LatencyTable, collecting_engine: Engine
) -> None:
    phone.measure_everything()
    (job,) = store.jobs()
    assert job.plan is not None
    accept(job, store, table, collecting_engine)
    with Session(collecting_engine) as session:
        (campaign,) = session.scalars(select(CampaignRow))
    assert json.loads(campaign.protocol) == {
        "source": "a page, accepted by a person",
        "collected_job": job.job_id,
        "min_rounds": 8,
        "max_rounds": 28,
        "sentinel_every": 16,
        "num_passes": 4,
        "max_drift": 0.03,
        "max_group_bytes": 2**26,
        "portion_size": 48,
        "seed": job.plan.seed,
    }


def test_a_part_of_a_job_can_be_accepted_and_the_rest_measured_later(
    phone: Phone, store: JobStore, table: LatencyTable, collecting_engine: Engine
) -> None:
    phone.measure_everything()
    (first,) = store.jobs()
    accept(first, store, table, collecting_engine)
    _, token = store.create(space="tiny", device_name="", max_blocks=None)
    later = Phone(phone.application, token)
    _, job = later.claim()
    assert first.plan is not None
    assert job["num_subjects"] == len(reachable_specs(search_space("tiny"))) - 12, "only what is missing"
    asked = {subject.subject_id for subject in first.plan.subjects}
    assert not asked & set(asked_keys(job["work"]))


def measure_without(phone: Phone, broken: Collection[str]) -> None:
    """Measures the phone's job, but for blocks and networks that it cannot run."""
    _, document = phone.claim()
    while document["work"] is not None:
        portion = phone.portion(document)
        samples = [sample for sample in portion["samples"] if sample["key"] not in broken]
        failed = [sample["key"] for sample in portion["samples"] if sample["key"] in broken]
        portion["probes"][-1]["position"] = len(samples)
        failures = [{"key": key, "reason": "RangeError: out of memory"} for key in failed]
        status, document = phone.send({**portion, "samples": samples, "failures": failures})
        assert status == 201, document


def test_a_block_that_the_phone_could_not_run_is_a_failed_row(
    phone: Phone, store: JobStore, table: LatencyTable, collecting_engine: Engine
) -> None:
    phone.claim()
    (job,) = store.jobs()
    assert job.plan is not None
    assert job.device is not None
    broken = job.plan.subjects[3]
    measure_without(phone, {broken.subject_id})
    assert accept(store.job(job.job_id), store, table, collecting_engine).num_failed == 1
    record = table.records(job.device, [broken])[broken]
    assert (record.status, record.reason) == ("failed", "in the browser: RangeError: out of memory")


@pytest.mark.skipif(not HAS_RUNTIME, reason="needs scripts/install_browser_runtime")
def test_what_failed_in_an_accepted_job_is_measured_in_the_next_and_stays_measured(
    application: CollectingApplication,
    store: JobStore,
    table: LatencyTable,
    collecting_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    specs = reachable_specs(search_space("tiny"))[:3]
    monkeypatch.setattr(phone_module, "reachable_specs", lambda space: specs)
    network = Subject.of_network(distinct_archs(search_space("tiny"), 1, seed=0)[0])
    broken = (Subject.of_block(specs[1]), network)

    def new_phone() -> tuple[Job, Phone]:
        job, token = store.create(space="tiny", device_name="", max_blocks=None, num_networks=1)
        return job, Phone(application, token)

    def asked_of(job: Job) -> set[Subject]:
        plan = store.job(job.job_id).plan
        assert plan is not None
        return set(plan.subjects)

    first, phone = new_phone()
    measure_without(phone, {subject.subject_id for subject in broken})
    first_accepted = accept(store.job(first.job_id), store, table, collecting_engine)
    assert (first_accepted.num_measured, first_accepted.num_failed) == (2, 2)

    second, phone = new_phone()
    phone.measure_everything()
    assert asked_of(second) == set(broken)
    second_accepted = accept(store.job(second.job_id), store, table, collecting_engine)
    assert (second_accepted.num_measured, second_accepted.num_failed) == (2, 0)
    device = second_accepted.device

    accept(store.job(first.job_id), store, table, collecting_engine)  # once more, as after a kill
    assert {record.status for record in table.records(device, broken).values()} == {"measured"}
    assert len(table.coverage(specs, device).present) == 3
    status, refusal = new_phone()[1].claim()
    assert (status, refusal["error"][:18]) == (422, "nothing to measure")


def test_of_some_blocks_those_that_failed_come_last(
    phone: Phone, store: JobStore, table: LatencyTable, collecting_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = reachable_specs(search_space("tiny"))[:13]
    monkeypatch.setattr(phone_module, "reachable_specs", lambda space: specs)
    phone.claim()
    (first,) = store.jobs()
    assert first.plan is not None
    broken = first.plan.subjects[0]
    measure_without(phone, {broken.subject_id})
    accept(store.job(first.job_id), store, table, collecting_engine)
    (untried,) = {Subject.of_block(spec) for spec in specs} - set(first.plan.subjects)
    for max_blocks, expected in ((1, {untried}), (2, {untried, broken})):
        later, token = store.create(space="tiny", device_name="", max_blocks=max_blocks)
        Phone(phone.application, token).claim()
        plan = store.job(later.job_id).plan
        assert plan is not None
        assert set(plan.subjects) == expected


def test_a_poisoned_block_is_flagged_and_not_taken_unasked(
    phone: Phone, store: JobStore, table: LatencyTable, collecting_engine: Engine
) -> None:
    add_other_device(table, phone, times=3.0)
    honest_ms = phone.latency_ms
    phone.claim()
    (job,) = store.jobs()
    assert job.plan is not None
    assert job.device is not None
    poisoned = job.plan.subjects[4]
    phone.latency_ms = lambda key, index: honest_ms(key, index) * (0.1 if key == poisoned.subject_id else 1)
    phone.measure_everything()
    samples, _ = samples_of(job.plan, store.received(job))
    (outlier,) = outliers(job.device, samples, table)
    assert outlier.subject == poisoned
    assert outlier.expected_ms == pytest.approx(10 * outlier.median_ms)
    with pytest.raises(UsageError, match="1 of 12 blocks"):
        accept(store.job(job.job_id), store, table, collecting_engine)
    assert job.device not in table.devices()
    accept(store.job(job.job_id), store, table, collecting_engine, with_outliers=True)
    assert job.device in table.devices()


def test_an_honest_device_of_another_speed_has_no_outliers(phone: Phone, store: JobStore, table: LatencyTable) -> None:
    add_other_device(table, phone, times=40.0)
    phone.measure_everything()
    (job,) = store.jobs()
    assert job.plan is not None
    assert job.device is not None
    samples, _ = samples_of(job.plan, store.received(job))
    assert outliers(job.device, samples, table) == ()


def test_what_nobody_measured_and_what_was_rejected_is_not_accepted(
    phone: Phone, store: JobStore, table: LatencyTable, collecting_engine: Engine
) -> None:
    (waiting,) = store.jobs()
    with pytest.raises(UsageError, match="is waiting"):
        accept(waiting, store, table, collecting_engine)
    phone.measure_everything()
    store.reject(waiting)
    with pytest.raises(UsageError, match="is rejected"):
        accept(store.job(waiting.job_id), store, table, collecting_engine)
    assert table.devices() == ()


def test_rows_of_another_number_of_threads_do_not_mix(
    phone: Phone, store: JobStore, table: LatencyTable, collecting_engine: Engine
) -> None:
    phone.measure_everything()
    (job,) = store.jobs()
    accept(job, store, table, collecting_engine)
    assert job.device is not None
    other = dataclasses.replace(job.device, threads=2)
    assert table.coverage(reachable_specs(search_space("tiny")), other).present == ()


@pytest.mark.skipif(not HAS_RUNTIME, reason="needs scripts/install_browser_runtime")
def test_networks_of_a_phone_judge_and_correct_the_sums_of_its_blocks(
    application: CollectingApplication, store: JobStore, table: LatencyTable, collecting_engine: Engine
) -> None:
    _, token = store.create(space="tiny", device_name="", max_blocks=None, num_networks=6)
    phone = Phone(application, token)
    space = search_space("tiny")
    exact_ms = {Subject.of_block(spec).subject_id: exact_latency_ms(spec) for spec in reachable_specs(space)}
    sums_ms = {
        Subject.of_network(arch).subject_id: sum(map(exact_latency_ms, block_specs(arch)))
        for arch in distinct_archs(space, 6, seed=0)
    }
    phone.latency_ms = lambda key, _: exact_ms[key] if key in exact_ms else 0.8 * sums_ms[key]
    phone.measure_everything()
    (job,) = store.jobs()
    assert accept(job, store, table, collecting_engine).num_measured == len(exact_ms) + len(sums_ms)
    assert job.device is not None
    report = check_space(space, job.device.name, collecting_engine, num_networks=6)
    as_they_are, *_ = report.agreements
    assert as_they_are.mape_percent == pytest.approx(25)
    assert report.correction.judged.mape_percent < 0.1
    arch = random_arch(space, 1000)
    found = estimate(arch, table, job.device)
    assert found.latency_ms == pytest.approx(0.8 * sum(map(exact_latency_ms, block_specs(arch))), rel=1e-3)

    _, token = store.create(space="tiny", device_name="", max_blocks=None, num_networks=6)
    status, refusal = Phone(application, token).claim()
    assert (status, refusal["error"][:18]) == (422, "nothing to measure")
