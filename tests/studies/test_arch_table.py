"""The readable table names every stage and what decides it."""

import pytest

from search_space.references import REFERENCES
from search_space.space import random_arch
from search_space.spaces import search_space
from studies.arch_table import COLUMNS, arch_table


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_every_reference_has_a_full_row_for_each_stage_and_the_middle(name: str) -> None:
    arch = REFERENCES[name]()
    table = arch_table(arch)
    assert len(table.rows) == len(arch.stages) + 1
    assert {len(row) for row in table.rows} == {len(COLUMNS)}


def test_kinds_of_attention_are_told_apart() -> None:
    words = {
        row[6].split(",")[0].split("/")[0]
        for seed in range(40)
        for row in arch_table(random_arch(search_space("tiny"), seed)).rows[:-1]
    }
    assert {"MHSA", "GQA", "MQA"} <= words
