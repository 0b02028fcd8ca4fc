"""Every sentence the scenes can be described with, and which of them are kept from training.

Six skills, the ones GenEval scores text-to-image models by (Ghosh et al. 2023, arXiv:2310.11513), each tested apart:

    single_object      "a picture of a circle"            any colour
    two_object         "a circle and a square"            any colours, anywhere
    counting           "three green squares"              two to four alike
    colors             "a red circle"
    position           "a circle left of a square"        any colours
    color_attribution  "a red circle and a blue square"   which colour belongs to which shape

A prompt's `composition` is what it says, whichever object it names first: "a circle left of a square" and "a square
right of a circle" are one. Of every skill, compositions worth 16 prompts are held out, so 96 prompts in all. With four
shapes there are only four single objects and six pairs; there the wording belongs to the composition.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from itertools import chain, permutations, product
from typing import Final

from search_space.errors import UsageError
from training.data.scene import PALETTE, SHAPES

SKILLS: Final[tuple[str, ...]] = (
    "single_object",
    "two_object",
    "counting",
    "colors",
    "position",
    "color_attribution",
)
HELD_OUT_PROMPTS_PER_SKILL: Final = 16

_COUNTS: Final[dict[str, int]] = {"two": 2, "three": 3, "four": 4}
_PLURALS: Final[dict[str, str]] = {
    "circle": "circles",
    "square": "squares",
    "triangle": "triangles",
    "cross": "crosses",
}
_OPPOSITES: Final[dict[str, str]] = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
}
_SINGLE_WORDINGS: Final[tuple[str, ...]] = (
    "a {}",
    "one {}",
    "a single {}",
    "just a {}",
    "a picture of a {}",
    "a drawing of a {}",
    "an image of a {}",
    "a painting of a {}",
)
_PAIR_WORDINGS: Final[tuple[str, ...]] = ("a {} and a {}", "one {} and one {}", "a {} with a {}", "a {} plus a {}")


@dataclass(frozen=True, kw_only=True)
class WantedObject:
    """An object a prompt asks for."""

    shape: str
    """One of `SHAPES`."""
    colour: str | None = None
    """A key of `PALETTE`, or None where any colour will do."""


@dataclass(frozen=True, kw_only=True)
class ScenePrompt:
    """A caption and what it means."""

    text: str
    """The caption itself, at most eight words."""
    skill: str
    """One of `SKILLS`."""
    objects: tuple[WantedObject, ...]
    """Everything the picture shows: no object more, none less."""
    relation: str | None = None
    """Where the first object stands as seen from the second: "left of", "right of", "above" or "below"."""
    composition: str
    """Equal for prompts that say the same; what training and held-out prompts never share."""


@dataclass(frozen=True, kw_only=True)
class PromptSplit:
    """All prompts, each on one side, by skill."""

    training: dict[str, tuple[ScenePrompt, ...]]
    """Prompts that training images are made for."""
    held_out: dict[str, tuple[ScenePrompt, ...]]
    """Prompts whose compositions training never shows."""


@cache
def prompt_split() -> PromptSplit:
    """Every prompt there is, split once and for all."""
    training: dict[str, tuple[ScenePrompt, ...]] = {}
    held_out: dict[str, tuple[ScenePrompt, ...]] = {}
    for skill in SKILLS:
        prompts = sorted(_all_prompts(skill), key=lambda prompt: (_draw(prompt.composition), prompt.text))
        held_out[skill] = tuple(prompts[:HELD_OUT_PROMPTS_PER_SKILL])
        training[skill] = tuple(prompts[HELD_OUT_PROMPTS_PER_SKILL:])
    return PromptSplit(training=training, held_out=held_out)


@cache
def held_out_prompts() -> tuple[ScenePrompt, ...]:
    """The 96 held-out prompts; the skill changes with every prompt, so a prefix holds every skill equally often."""
    return tuple(chain.from_iterable(zip(*prompt_split().held_out.values(), strict=True)))


def parse_prompt(text: str) -> ScenePrompt:
    """What a caption means; a caption the scenes never use is a UsageError."""
    try:
        return _prompts_by_text()[text]
    except KeyError:
        raise UsageError(
            f"the scene prompt {text!r}",
            allowed=f"the {len(_prompts_by_text())} captions of scenes, such as 'three green squares'",
            fix="take prompts from the data set's prompts()",
        ) from None


@cache
def _prompts_by_text() -> dict[str, ScenePrompt]:
    return {prompt.text: prompt for skill in SKILLS for prompt in _all_prompts(skill)}


def _draw(composition: str) -> str:
    """A fixed lot for the composition; the lowest are held out."""
    return hashlib.sha256(f"scenes: {composition}".encode()).hexdigest()


def _all_prompts(skill: str) -> tuple[ScenePrompt, ...]:
    makers = {
        "single_object": _single_objects,
        "two_object": _two_objects,
        "counting": _countings,
        "colors": _colors,
        "position": _positions,
        "color_attribution": _color_attributions,
    }
    return makers[skill]()


def _single_objects() -> tuple[ScenePrompt, ...]:
    texts = ((shape, wording.format(shape)) for shape, wording in product(SHAPES, _SINGLE_WORDINGS))
    return tuple(
        ScenePrompt(text=text, skill="single_object", objects=(WantedObject(shape=shape),), composition=text)
        for shape, text in texts
    )


def _two_objects() -> tuple[ScenePrompt, ...]:
    return tuple(
        ScenePrompt(
            text=wording.format(*shapes),
            skill="two_object",
            objects=tuple(WantedObject(shape=shape) for shape in shapes),
            composition=wording.format(*sorted(shapes)),
        )
        for shapes, wording in product(permutations(SHAPES, 2), _PAIR_WORDINGS)
    )


def _countings() -> tuple[ScenePrompt, ...]:
    return tuple(
        ScenePrompt(
            text=f"{word} {colour} {_PLURALS[shape]}",
            skill="counting",
            objects=(WantedObject(shape=shape, colour=colour),) * count,
            composition=f"{word} {colour} {shape}",
        )
        for (word, count), colour, shape in product(_COUNTS.items(), PALETTE, SHAPES)
    )


def _colors() -> tuple[ScenePrompt, ...]:
    return tuple(
        ScenePrompt(
            text=f"{_article(colour)} {colour} {shape}",
            skill="colors",
            objects=(WantedObject(shape=shape, colour=colour),),
            composition=f"{colour} {shape}",
        )
        for colour, shape in product(PALETTE, SHAPES)
    )


def _positions() -> tuple[ScenePrompt, ...]:
    return tuple(
        ScenePrompt(
            text=f"a {first} {relation} a {second}",
            skill="position",
            objects=(WantedObject(shape=first), WantedObject(shape=second)),
            relation=relation,
            composition=min(f"{first} {relation} {second}", f"{second} {_OPPOSITES[relation]} {first}"),
        )
        for (first, second), relation in product(permutations(SHAPES, 2), _OPPOSITES)
    )


def _color_attributions() -> tuple[ScenePrompt, ...]:
    pairs = product(permutations(SHAPES, 2), permutations(PALETTE, 2))
    return tuple(
        ScenePrompt(
            text=" and ".join(
                f"{_article(colour)} {colour} {shape}" for shape, colour in zip(shapes, colours, strict=True)
            ),
            skill="color_attribution",
            objects=tuple(
                WantedObject(shape=shape, colour=colour) for shape, colour in zip(shapes, colours, strict=True)
            ),
            composition=" ".join(sorted(f"{colour} {shape}" for shape, colour in zip(shapes, colours, strict=True))),
        )
        for shapes, colours in pairs
    )


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
