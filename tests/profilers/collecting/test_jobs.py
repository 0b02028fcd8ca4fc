"""The quarantine in both databases."""

import concurrent.futures

import pytest
from sqlalchemy import Engine

from profilers.collecting.jobs import Job, JobStore, TokenUsedError, WrongSecretError
from profilers.collecting.messages import BlockSample, Portion, Probe
from profilers.collecting.plan import Plan
from profilers.collecting.secrets_and_limits import new_secret
from profilers.device import Device
from profilers.subject import Subject
from search_space.errors import UsageError
from search_space.specs import BlockSpec

PROBE = Probe(position=0, raw_ms=[1.0, 1.0, 1.0], num_runs=1, at_ms=0)


@pytest.fixture
def plan(small_specs: tuple[BlockSpec, ...]) -> Plan:
    return Plan.of_subjects([Subject.of_block(spec) for spec in small_specs], seed=1, nonce="nonce")


def portion_of(plan: Plan, *, upload_id: str = "a" * 32, round_index: int = 0) -> Portion:
    samples = [
        BlockSample(key=subject.subject_id, raw_ms=0.1, num_runs=3, at_ms=10 * index)
        for index, subject in enumerate(plan.subjects, start=1)
    ]
    return Portion(
        schema_version=1,
        upload_id=upload_id,
        plan_id=plan.plan_id,
        group_index=0,
        round_index=round_index,
        portion_index=0,
        probes=[PROBE, PROBE.model_copy(update={"position": len(samples), "at_ms": 100.0})],
        samples=samples,
        failures=[],
    )


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
    job, _ = store.create(space="tiny", device_name="", max_blocks=None)
    job = store.claim(job, new_secret(), device=device, plan=plan)
    first, second = portion_of(plan), portion_of(plan, upload_id="b" * 32, round_index=1)
    assert store.add_portion(job, second)
    assert store.add_portion(job, first)
    assert not store.add_portion(job, first)
    assert not store.add_portion(job, first.model_copy(update={"upload_id": "c" * 32}))
    assert [item.portion for item in store.received(job)] == [first, second]
    assert store.has_upload(job, first)
    assert not store.has_upload(job, first.model_copy(update={"round_index": 5}))


def test_an_unknown_job_is_a_clear_error(engine: Engine) -> None:
    with pytest.raises(UsageError, match="--list"):
        JobStore(engine).job("0123456789ab")
