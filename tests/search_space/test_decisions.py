"""The tree of decisions: exact sizes, uniform draws, single changes."""

import itertools
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from search_space.decisions import (
    NOTHING,
    All,
    Choice,
    Node,
    Value,
    choice,
    decide,
    decide_as,
    decide_uniformly,
    single_changes,
    variations,
)
from search_space.errors import UsageError
from search_space.spaces import SPACES


def meal(value: Value) -> Node:
    """What a guest decides next."""
    if value == "nothing":
        return NOTHING
    return All((choice("drink", ("water", "tea")), choice("dessert", ("cake", "fruit", "cheese"), cheese)))


def cheese(value: Value) -> Node:
    return choice("age_months", (3, 12)) if value == "cheese" else NOTHING


TREE = All((choice("meal", ("nothing", "lunch", "dinner"), meal), choice("tip", (False, True))))


def choices(tree: Node) -> Iterator[Choice]:
    """Every choice anywhere in a tree."""
    match tree:
        case All():
            for part in tree.parts:
                yield from choices(part)
        case Choice():
            yield tree
            for _, opened in tree.options:
                yield from choices(opened)


def brute_force(tree: Node) -> set[frozenset[tuple[str, Value]]]:
    """Every complete set of decisions, by trying all combinations of wishes."""
    options = {found.name: found.values for found in choices(tree)}
    wishes = (dict(zip(options, values, strict=True)) for values in itertools.product(*options.values()))
    return {frozenset(decide_as(tree, wish).items()) for wish in wishes}


@pytest.mark.parametrize(
    "tree", [TREE, NOTHING, cheese("cheese"), meal("lunch"), All((cheese("cheese"), choice("starter", (0, 1, 2))))]
)
def test_size_is_the_number_of_different_sets_of_decisions(tree: Node) -> None:
    assert tree.size == len(brute_force(tree))


def test_size_of_the_example_by_hand() -> None:
    assert TREE.size == (1 + 2 * (2 * (1 + 1 + 2))) * 2 == 34


def test_draws_are_uniform_over_complete_sets_and_not_over_options() -> None:
    generator = random.Random(0)
    draws = Counter(frozenset(decide_uniformly(TREE, generator).items()) for _ in range(34 * 200))
    assert set(draws) == brute_force(TREE)
    chi_squared = sum((count - 200) ** 2 / 200 for count in draws.values())
    assert chi_squared < 63.9  # 33 degrees of freedom, one chance in a thousand


def test_draws_are_repeatable() -> None:
    assert decide_uniformly(TREE, random.Random(7)) == decide_uniformly(TREE, random.Random(7))


def test_decisions_come_up_only_where_they_are_opened() -> None:
    first = decide(TREE, lambda open_choice: open_choice.values[0])
    last = decide(TREE, lambda open_choice: open_choice.values[-1])
    assert first == {"meal": "nothing", "tip": False}
    assert last == {"meal": "dinner", "drink": "tea", "dessert": "cheese", "age_months": 12, "tip": True}


def test_a_wish_that_is_not_on_offer_falls_on_the_first_option() -> None:
    wish: dict[str, Value] = {"meal": "lunch", "drink": "wine", "dessert": "fruit", "age_months": 12}
    assert decide_as(TREE, wish) == {"meal": "lunch", "drink": "water", "dessert": "fruit", "tip": False}


def test_single_changes_change_one_decision_and_decide_what_it_opens() -> None:
    decisions: dict[str, Value] = {"meal": "lunch", "drink": "tea", "dessert": "fruit", "tip": True}
    assert list(single_changes(TREE, decisions)) == [
        {"meal": "nothing", "tip": True},
        {"meal": "dinner", "drink": "tea", "dessert": "fruit", "tip": True},
        {"meal": "lunch", "drink": "water", "dessert": "fruit", "tip": True},
        {"meal": "lunch", "drink": "tea", "dessert": "cake", "tip": True},
        {"meal": "lunch", "drink": "tea", "dessert": "cheese", "age_months": 3, "tip": True},
        {"meal": "lunch", "drink": "tea", "dessert": "fruit", "tip": False},
    ]


def test_variations_vary_the_named_decisions_and_no_others() -> None:
    every = [frozenset(found.items()) for found in variations(TREE, {found.name for found in choices(TREE)})]
    assert len(every) == len(set(every))
    assert set(every) == brute_force(TREE)
    assert list(variations(TREE, {"meal", "age_months"})) == [
        {"meal": "nothing", "tip": False},
        {"meal": "lunch", "drink": "water", "dessert": "cake", "tip": False},
        {"meal": "dinner", "drink": "water", "dessert": "cake", "tip": False},
    ]


@pytest.mark.parametrize("values", [(), (3, 5, 3), (1, True)])
def test_a_decision_needs_options_that_are_all_different(values: tuple[Value, ...]) -> None:
    with pytest.raises(UsageError, match="decision kernel is offered"):
        choice("kernel", values)


@pytest.mark.parametrize("name", SPACES)
def test_a_name_stands_for_the_same_options_wherever_it_appears(name: str) -> None:
    options: dict[str, set[tuple[Value, ...]]] = {}
    for found in choices(SPACES[name].tree):
        options.setdefault(found.name, set()).add(found.values)
    assert all(len(values) == 1 for values in options.values())
    assert all(type(value) in (str, int, bool) for values in options.values() for value in next(iter(values)))
