"""The quarantine in both databases."""

import concurrent.futures

import pytest
from sqlalchemy import Engine

from profilers.collecting.jobs import SESSION_LIFETIME_S, Job, JobStore, TokenUsedError, WrongSecretError
from profilers.collecting.messages import BlockSample, Portion, Probe
from profilers.collecting.plan import Plan, Received
from profilers.collecting.secrets_and_limits import new_secret
from profilers.device import Device
from profilers.subject import Subject
from search_space.errors import UsageError
from search_space.specs import BlockSpec

PROBE = Probe(position=0, raw_ms=[1.0, 1.0, 1.0], num_runs=1, at_ms=0)


@pytest.fixture
def plan(small_specs: tuple[BlockSpec, ...]) -> Plan:
    return Plan.of_subjects([Subject.of_block(spec) for spec in small_specs], seed=1, nonce="nonce")


def received_of(plan: Plan, *, upload_id: str = "a" * 32, group_index: int = 0, round_index: int = 0) -> Received:
    samples = [
        BlockSample(key=subject.subject_id, raw_ms=0.1, num_runs=3, at_ms=10 * index)
        for index, subject in enumerate(plan.subjects, start=1)
    ]
    portion = Portion(
        schema_version=1,
        upload_id=upload_id,
        plan_id=plan.plan_id,
        group_index=group_index,
        round_index=round_index,
        portion_index=0,
        probes=[PROBE, PROBE.model_copy(update={"position": len(samples), "at_ms": 100.0})],
        samples=samples,
        failures=[],
    )
    return Received(portion=portion, received_at=1e9)


def claimed_job(store: JobStore, device: Device, plan: Plan) -> Job:
    job, _ = store.create(space="tiny", device_name="", max_blocks=None)
    return store.claim(job, new_secret(), device=device, plan=plan)


def test_a_job_comes_back_as_it_was_stored(engine: Engine, device: Device, plan: Plan) -> None:
    store = JobStore(engine)
    job, token = store.create(space="tiny", device_name="browser-x", max_blocks=4)
    assert store.find_by_token(token) == job
    session_key = new_secret()
    claimed = store.claim(job, session_key, device=device, plan=plan)
    assert (claimed.device, claimed.plan, claimed.status) == (device, plan, "collecting")
    assert store.find_by_session(session_key) == claimed
    for wrong in (token, new_secret()):
        with pytest.raises(WrongSecretError):
            store.find_by_session(wrong)


def test_of_many_pages_that_claim_at_once_one_wins(engine: Engine, device: Device, plan: Plan) -> None:
    store = JobStore(engine)
    job, _ = store.create(space="tiny", device_name="", max_blocks=None)

    def claim(session_key: str) -> Job | None:
        try:
            return store.claim(job, session_key, device=device, plan=plan)
        except TokenUsedError:
            return None

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(claim, [new_secret() for _ in range(8)]))
    assert sum(item is not None for item in claimed) == 1


def test_portions_come_back_in_order_and_once(engine: Engine, device: Device, plan: Plan) -> None:
    store = JobStore(engine)
    job = claimed_job(store, device, plan)
    first, second = received_of(plan), received_of(plan, upload_id="b" * 32, round_index=1)
    assert store.add_portion(job, second, is_last=False)
    assert store.add_portion(job, first, is_last=False)
    assert not store.add_portion(job, first, is_last=False)
    assert not store.add_portion(job, received_of(plan, upload_id="c" * 32), is_last=False)
    assert store.received(job) == (first, second)
    assert store.has_upload(job, first.portion)
    assert not store.has_upload(job, first.portion.model_copy(update={"round_index": 5}))


def test_what_decides_the_next_portion_is_what_came_in_for_the_last_group(
    engine: Engine, device: Device, plan: Plan
) -> None:
    store = JobStore(engine)
    job = claimed_job(store, device, plan)
    assert store.received_of_last_group(job) == ()
    items = [
        received_of(plan, upload_id=f"{index:032x}", group_index=index // 2, round_index=index) for index in range(4)
    ]
    for item in items:
        assert store.add_portion(job, item, is_last=False)
    assert store.received_of_last_group(job) == tuple(items[2:])


def test_the_last_portion_and_the_end_of_its_job_are_kept_together(engine: Engine, device: Device, plan: Plan) -> None:
    store = JobStore(engine)
    job = claimed_job(store, device, plan)
    first, second = received_of(plan), received_of(plan, upload_id="b" * 32, round_index=1)
    assert store.add_portion(job, first, is_last=False)
    assert not store.add_portion(job, first, is_last=True)
    assert store.job(job.job_id).status == "collecting", "what was not kept ended nothing"
    assert store.add_portion(job, second, is_last=True)
    assert store.job(job.job_id).status == "complete"


def test_a_job_that_was_closed_since_it_was_read_takes_nothing(engine: Engine, device: Device, plan: Plan) -> None:
    store = JobStore(engine)
    for close, status in ((store.close, "complete"), (store.reject, "rejected")):
        job = claimed_job(store, device, plan)
        close(job)
        assert not store.add_portion(job, received_of(plan), is_last=True)
        assert store.received(job) == ()
        assert store.job(job.job_id).status == status


def test_of_accepting_and_rejecting_at_once_the_first_counts(engine: Engine, device: Device, plan: Plan) -> None:
    store = JobStore(engine)
    rejected, accepted = claimed_job(store, device, plan), claimed_job(store, device, plan)
    for job in (rejected, accepted):
        store.close(job)
    assert store.reject(rejected)
    assert not store.set_campaign(rejected, 1)
    assert store.set_campaign(accepted, 2)
    assert not store.reject(accepted)
    store.set_accepted(accepted)
    assert [store.job(job.job_id).status for job in (rejected, accepted)] == ["rejected", "accepted"]


def test_a_rejected_job_is_not_claimed(engine: Engine, device: Device, plan: Plan) -> None:
    store = JobStore(engine)
    job, _ = store.create(space="tiny", device_name="", max_blocks=None)
    store.reject(job)
    with pytest.raises(TokenUsedError):
        store.claim(job, new_secret(), device=device, plan=plan)
    assert store.job(job.job_id).status == "rejected"


def test_unfinished_jobs_are_those_that_a_page_can_go_on_with(engine: Engine, device: Device, plan: Plan) -> None:
    now_s = [1e9]
    store = JobStore(engine, clock_s=lambda: now_s[0])
    store.create(space="tiny", device_name="", max_blocks=None)
    unfinished, complete = claimed_job(store, device, plan), claimed_job(store, device, plan)
    store.close(complete)
    assert store.unfinished() == (unfinished,)
    now_s[0] += SESSION_LIFETIME_S + 1
    assert store.unfinished() == ()


def test_an_unknown_job_is_a_clear_error(engine: Engine) -> None:
    with pytest.raises(UsageError, match="--list"):
        JobStore(engine).job("0123456789ab")
