import json

import pytest

from profilers.collecting.messages import BlockFailure, BlockSample, Portion, Probe
from profilers.collecting.plan import (
    PORTION_SIZE,
    PROTOCOL,
    Plan,
    Received,
    Work,
    contradiction,
    next_work,
    progress_of,
    samples_of,
)
from profilers.measurement import measurement_of
from profilers.sentinel import COMPANIONS
from profilers.subject import Subject
from search_space.space import random_arch, reachable_specs
from search_space.spaces import search_space

SUBJECTS = [Subject.of_block(spec) for spec in reachable_specs(search_space("tiny"))]
NETWORKS = [Subject.of_network(random_arch(search_space("tiny"), seed)) for seed in range(3)]


def answer(
    work: Work, plan: Plan, *, raw_ms: float = 2.0, sentinel_ms: float = 1.0, failed: tuple[str, ...] = ()
) -> Portion:
    keys = [subject.subject_id for subject in work.subjects if subject.subject_id not in failed]
    probe = Probe(position=0, raw_ms=[sentinel_ms] * 3, num_runs=1, at_ms=0)
    return Portion(
        schema_version=1,
        upload_id=f"{work.group_index:08x}{work.round_index:012x}{work.portion_index:012x}",
        plan_id=plan.plan_id,
        group_index=work.group_index,
        round_index=work.round_index,
        portion_index=work.portion_index,
        probes=[probe, probe.model_copy(update={"position": len(keys), "at_ms": 100.0 * (len(keys) + 1)})],
        samples=[
            BlockSample(key=key, raw_ms=raw_ms, num_runs=2, at_ms=100.0 * index)
            for index, key in enumerate(keys, start=1)
        ],
        failures=[BlockFailure(key=key, reason="out of memory") for key in failed],
    )


def make_plan(num_blocks: int) -> Plan:
    return Plan.of_subjects(SUBJECTS[:num_blocks], seed=1, nonce="nonce")


def first_work(plan: Plan) -> Work:
    work = next_work(plan, [])
    assert work is not None
    return work


def collect(plan: Plan) -> list[tuple[Work, Received]]:
    """Answers with equal samples until nothing more is asked."""
    done: list[tuple[Work, Received]] = []
    while (work := next_work(plan, [received for _, received in done])) is not None:
        done.append((work, Received(portion=answer(work, plan), received_at=1e9)))
    return done


def test_every_block_is_asked_for_until_it_is_known() -> None:
    plan = make_plan(5)
    done = collect(plan)
    assert len(done) == PROTOCOL.min_rounds
    for work, _ in done:
        assert set(work.subjects) == set(plan.subjects)
    assert len({work.subjects for work, _ in done}) > 1, "the order is drawn anew for every round"


def test_a_large_round_comes_in_portions_and_large_weights_in_groups_and_progress_only_rises() -> None:
    plan = Plan.of_subjects(SUBJECTS, seed=1, nonce="nonce")
    assert len(plan.groups) > 1
    assert sorted(subject.text for subject in plan.subjects) == sorted(
        subject.text for group in plan.groups for subject in group
    )
    works = [work for work, _ in collect(plan)]
    assert max(len(work.subjects) for work in works) <= PORTION_SIZE
    for group_index, group in enumerate(plan.groups):
        for round_index in range(PROTOCOL.min_rounds):
            of_round = [work for work in works if (work.group_index, work.round_index) == (group_index, round_index)]
            assert {subject for work in of_round for subject in work.subjects} == set(group)
    counts = [progress_of(plan, work)[0] for work in works]
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert progress_of(plan, None) == (len(SUBJECTS) * PROTOCOL.max_rounds,) * 2


def test_the_last_group_alone_decides_what_comes_next() -> None:
    plan = Plan.of_subjects(SUBJECTS, seed=1, nonce="nonce")
    done = collect(plan)
    received = [item for _, item in done]
    for index in range(0, len(done), 10):
        group_index = received[index - 1].portion.group_index if index else 0
        of_group = [item for item in received[:index] if item.portion.group_index == group_index]
        assert next_work(plan, of_group) == done[index][0]


def test_networks_come_after_the_blocks_one_between_two_looks_at_the_sentinel() -> None:
    plan = Plan.of_subjects([*NETWORKS[:2], *SUBJECTS[:5], NETWORKS[2]], seed=1, nonce="nonce")
    blocks, networks = plan.groups
    assert (set(blocks), set(networks)) == (set(SUBJECTS[:5]), set(NETWORKS))
    works = [work for work, _ in collect(plan)]
    assert [len(work.chunks) for work in works] == [1] * PROTOCOL.min_rounds + [3] * PROTOCOL.min_rounds
    assert {chunk.companions for work in works for chunk in work.chunks if chunk.kind == "network"} == {()}


def test_too_few_blocks_run_in_turn_with_others_of_their_group_first() -> None:
    (few,) = first_work(make_plan(5)).chunks
    assert few.companions == COMPANIONS[:11]
    whole, rest = first_work(make_plan(20)).chunks
    assert whole.companions == ()
    assert len(set(rest.companions)) == 12
    assert set(rest.companions) <= set(whole.subjects)


def test_finished_blocks_keep_the_last_ones_company_and_failed_ones_do_not() -> None:
    plan = make_plan(8)
    noisy, failed = plan.subjects[0], plan.subjects[1].subject_id
    received: list[Received] = []
    while (work := next_work(plan, received)) is not None and work.round_index < PROTOCOL.min_rounds:
        portion = answer(work, plan, failed=(failed,) if work.round_index == 0 else ())
        samples = [
            sample.model_copy(update={"raw_ms": 2.0 + work.round_index}) if sample.key == noisy.subject_id else sample
            for sample in portion.samples
        ]
        received.append(Received(portion=portion.model_copy(update={"samples": samples}), received_at=1e9))
    assert work is not None
    assert work.subjects == (noisy,)
    (chunk,) = work.chunks
    assert set(chunk.companions[:6]) == set(plan.subjects[2:])
    assert chunk.companions[6:] == COMPANIONS[:9]


def test_a_block_that_failed_is_not_asked_for_again() -> None:
    plan = make_plan(4)
    work = first_work(plan)
    failed = work.subjects[1].subject_id
    received = [Received(portion=answer(work, plan, failed=(failed,)), received_at=1e9)]
    following = next_work(plan, received)
    assert following is not None
    assert failed not in {subject.subject_id for subject in following.subjects}
    samples, failures = samples_of(plan, received)
    assert failures == {failed: "out of memory"}
    assert len(samples) == 3


def test_a_phone_that_slows_down_is_divided_out() -> None:
    plan = make_plan(3)
    received: list[Received] = []
    for slowness in (1.0, 1.0, 1.5, 1.5, 1.0):
        work = next_work(plan, received)
        assert work is not None
        portion = answer(work, plan, raw_ms=2.0 * slowness, sentinel_ms=slowness)
        received.append(Received(portion=portion, received_at=1e9))
    samples, _ = samples_of(plan, received, reference_ms=1.0)
    for taken in samples.values():
        assert measurement_of(taken).samples_ms == pytest.approx([2.0] * 5)


def test_answers_to_other_questions_are_seen() -> None:
    plan = make_plan(4)
    work = first_work(plan)
    good = answer(work, plan)
    assert contradiction(good, work) is None
    foreign = good.samples[0].model_copy(update={"key": "0" * 16})
    for changes in (
        {"round_index": 1},
        {"portion_index": 1},
        {"samples": good.samples[1:]},
        {"samples": good.samples[::-1]},
        {"samples": [*good.samples, good.samples[0]]},
        {"samples": [foreign, *good.samples[1:]]},
        {"failures": [BlockFailure(key="0" * 16, reason="x")]},
        {"probes": good.probes[:1] * 2},
        {"probes": good.probes[::-1]},
    ):
        assert contradiction(good.model_copy(update=changes), work) is not None, changes


def test_a_sample_that_outlasts_its_time_is_seen() -> None:
    plan = make_plan(4)
    work = first_work(plan)
    good = answer(work, plan)
    long = good.samples[1].model_copy(update={"raw_ms": 260.0})  # two runs, and 500 ms until the sentinel's turn
    late = good.samples[1].model_copy(update={"at_ms": 350.0})
    for changed in (long, late):
        assert contradiction(good.model_copy(update={"samples": [good.samples[0], changed, *good.samples[2:]]}), work)
    after_the_end = good.samples[-1].model_copy(update={"at_ms": good.probes[-1].at_ms + 1})
    assert contradiction(good.model_copy(update={"samples": [*good.samples[:-1], after_the_end]}), work)


def test_a_plan_comes_back_from_its_json_and_another_has_another_id() -> None:
    plan = make_plan(6)
    assert Plan.from_json(plan.to_json()) == plan
    assert Plan.of_subjects(SUBJECTS[:6], seed=1, nonce="other").plan_id != plan.plan_id


def test_a_plan_with_networks_comes_back_and_so_does_one_of_an_earlier_version() -> None:
    plan = Plan.of_subjects([*SUBJECTS[:3], NETWORKS[0]], seed=1, nonce="nonce")
    assert Plan.from_json(plan.to_json()) == plan
    assert NETWORKS[0] in plan.subjects
    earlier = {"plan_id": "a" * 32, "seed": 1, "groups": [[SUBJECTS[0].text], [SUBJECTS[1].text]]}
    assert Plan.from_json(json.dumps(earlier)).groups == ((SUBJECTS[0],), (SUBJECTS[1],))
