"""A tree of decisions: what a search space is made of before it is about networks.

A `Choice` picks one of its options, and each option may open further decisions; `All` makes several independent
decisions. A tree whose every path ends in a different object has an exact size (sums over choices, products over
parts), can be sampled uniformly (each option weighs as much as what lies behind it), and knows every way to change one
decision. Subtrees may be shared. A decision's name stands for the same options wherever it appears, as Optuna demands.
"""

import functools
import itertools
import math
import random
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from search_space.errors import UsageError

Value = str | int | bool
"""What a decision can be: only what Optuna stores as it is."""


@dataclass(frozen=True, eq=False)
class Choice:
    """One decision: exactly one of its options, with what that option opens."""

    name: str
    options: tuple[tuple[Value, "Node"], ...]

    @functools.cached_property
    def size(self) -> int:
        """In how many ways this decision and everything it opens can be made."""
        return sum(node.size for _, node in self.options)

    @functools.cached_property
    def values(self) -> tuple[Value, ...]:
        """The options by themselves."""
        return tuple(value for value, _ in self.options)


@dataclass(frozen=True, eq=False)
class All:
    """Decisions that are made independently of one another."""

    parts: tuple["Node", ...]

    @functools.cached_property
    def size(self) -> int:
        """In how many ways all of them together can be made."""
        return math.prod(part.size for part in self.parts)


Node = Choice | All

NOTHING = All(())
"""No decision left."""


def choice(name: str, values: Collection[Value], opens: Callable[[Value], Node] = lambda value: NOTHING) -> Choice:
    """A decision between `values`; `opens(value)` is what deciding for one of them leads to.

    Raises:
        UsageError: There is no option, or one of them is offered twice and would be counted twice.
    """
    if not values or len(set(values)) < len(values):
        raise UsageError(f"decision {name} is offered {tuple(values)}", allowed="one option or more, all different")
    return Choice(name, tuple((value, opens(value)) for value in values))


def decide(tree: Node, choose: Callable[[Choice], Value]) -> dict[str, Value]:
    """Makes every decision that comes up, from the root on; returns them by name."""
    decisions: dict[str, Value] = {}
    coming_up = [tree]
    while coming_up:
        match coming_up.pop():
            case All() as node:
                coming_up.extend(reversed(node.parts))
            case Choice() as node:
                decisions[node.name] = choose(node)
                coming_up.append(dict(node.options)[decisions[node.name]])
    return decisions


def decide_uniformly(tree: Node, generator: random.Random) -> dict[str, Value]:
    """Draws from all complete sets of decisions with equal probability."""

    def choose(open_choice: Choice) -> Value:
        weights = [node.size for _, node in open_choice.options]
        return _draw(open_choice.values, weights, generator)

    return decide(tree, choose)


def decide_as(tree: Node, wanted: Mapping[str, Value]) -> dict[str, Value]:
    """Decides as `wanted` where it says something that is on offer, and for the first option elsewhere."""

    def choose(open_choice: Choice) -> Value:
        value = wanted.get(open_choice.name)
        return value if value in open_choice.values and value is not None else open_choice.values[0]

    return decide(tree, choose)


def single_changes(tree: Node, decisions: Mapping[str, Value]) -> Iterator[dict[str, Value]]:
    """Every set of decisions that differs in one of them; whatever that one opens is decided for the first option."""
    open_choices: list[Choice] = []

    def choose(open_choice: Choice) -> Value:
        open_choices.append(open_choice)
        return decisions[open_choice.name]

    decide(tree, choose)
    for open_choice, value in ((c, v) for c in open_choices for v in c.values):
        if value != decisions[open_choice.name]:
            yield decide_as(tree, {**decisions, open_choice.name: value})


def variations(tree: Node, names: Collection[str]) -> Iterator[dict[str, Value]]:
    """Every way to make the decisions called `names`; all others fall on their first option."""
    match tree:
        case All():
            for combination in itertools.product(*(list(variations(part, names)) for part in tree.parts)):
                yield {name: value for part in combination for name, value in part.items()}
        case Choice():
            options = tree.options if tree.name in names else tree.options[:1]
            for value, opened in options:
                for further in variations(opened, names):
                    yield {tree.name: value} | further


def _draw(values: tuple[Value, ...], weights: list[int], generator: random.Random) -> Value:
    """One value with probability proportional to its (arbitrarily large) integer weight."""
    ticket = generator.randrange(sum(weights))
    for value, weight in zip(values, weights, strict=True):
        ticket -= weight
        if ticket < 0:
            return value
    raise AssertionError("the tickets of all values add up to the sum of the weights")
