"""What may not be offered for one stage, and how heads share keys and values."""

import dataclasses
from typing import Any

import pytest

from search_space.errors import UsageError
from search_space.spaces import TINY
from search_space.stage_choices import num_kv_heads

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "head_dim that divides no width": ({"head_dims": (20,)}, "stage 1 offers head_dim 20 for 64 channels"),
    "two ways of sharing that are one": ({"head_dims": (32,), "kv_sharings": ("gqa", "mqa")}, "gqa, mqa for 2 heads"),
    "half of five heads": ({"channels": (160,), "head_dims": (32,), "kv_sharings": ("gqa",)}, "gqa for 5 heads"),
    "hidden widths that are the same": (
        {"channels": (48, 64), "head_dims": (16,), "hidden_widths": ("in", "max")},
        "stage 1 .*'in' and 'max'",
    ),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_choices_that_would_count_a_network_twice_or_cannot_be_built_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    first, second, last = TINY.stages
    with pytest.raises(UsageError, match=message) as refusal:
        dataclasses.replace(TINY, stages=(first, dataclasses.replace(second, **changes), last))
    assert len(str(refusal.value).splitlines()) <= 3


def test_key_value_heads_are_shared_by_all_by_two_or_by_none() -> None:
    assert [num_kv_heads(sharing, 6) for sharing in ("mha", "gqa", "mqa")] == [6, 3, 1]
    with pytest.raises(UsageError, match="mha, gqa, mqa"):
        num_kv_heads("mla", 6)
