"""Every decision decides some blocks, and every block is decided by the decisions of one group."""

from collections.abc import Mapping

import pytest

from search_space.block_groups import BlockGroup, block_groups
from search_space.decisions import Value
from search_space.space import SearchSpace, decisions_of, random_arch
from search_space.spaces import SPACES, TINY
from search_space.specs import BlockSpec
from search_space.walk import walk
from tests.search_space.test_decisions import choices


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_every_decision_is_in_a_group(space: SearchSpace) -> None:
    groups = block_groups(len(space.stages))
    deciding = {name for group in groups for name in (*group.decisions, group.repeated_by)}
    assert {found.name for found in choices(space.tree)} <= deciding


def test_equal_decisions_of_a_group_give_equal_blocks() -> None:
    groups = block_groups(len(TINY.stages))
    known: dict[tuple[BlockGroup, tuple[Value | None, ...]], list[BlockSpec]] = {}
    for seed in range(300):
        arch = random_arch(TINY, seed)
        decisions = decisions_of(arch, TINY)
        specs: dict[BlockGroup, list[BlockSpec]] = {group: [] for group in groups}
        for block in walk(arch):
            group = next(group for group in groups if not group.prefixes or block.name.startswith(group.prefixes))
            specs[group].append(block.spec)
        for group in groups:
            assert known.setdefault((group, _taken(group, decisions)), specs[group]) == specs[group]


def _taken(group: BlockGroup, decisions: Mapping[str, Value]) -> tuple[Value | None, ...]:
    """What was decided; None for what never came up."""
    return tuple(decisions.get(name) for name in (*group.decisions, group.repeated_by or ""))
