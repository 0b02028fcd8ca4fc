"""The sentences of the scenes: short, unambiguous, and split so that nothing held out is ever said in training."""

from collections import Counter

import pytest

from search_space.errors import UsageError
from training.data.scene import PALETTE, SHAPES
from training.data.scene_prompts import SKILLS, held_out_prompts, parse_prompt, prompt_split


def test_sixteen_prompts_of_every_skill_are_held_out() -> None:
    assert Counter(prompt.skill for prompt in held_out_prompts()) == dict.fromkeys(SKILLS, 16)


def test_any_prefix_of_the_held_out_prompts_holds_every_skill_equally_often() -> None:
    assert [prompt.skill for prompt in held_out_prompts()] == list(SKILLS) * 16


@pytest.mark.parametrize("skill", SKILLS)
def test_no_composition_is_on_both_sides(skill: str) -> None:
    held_out = {prompt.composition for prompt in prompt_split().held_out[skill]}
    assert not held_out & {prompt.composition for prompt in prompt_split().training[skill]}


@pytest.mark.parametrize("skill", SKILLS)
def test_training_knows_every_word_that_held_out_prompts_use(skill: str) -> None:
    trained = {word for prompt in prompt_split().training[skill] for word in prompt.text.split()}
    assert {word for prompt in prompt_split().held_out[skill] for word in prompt.text.split()} <= trained


@pytest.mark.parametrize("skill", SKILLS)
def test_training_shows_every_shape(skill: str) -> None:
    prompts = prompt_split().training[skill]
    assert {wanted.shape for prompt in prompts for wanted in prompt.objects} == set(SHAPES)


@pytest.mark.parametrize("skill", ["counting", "colors", "color_attribution"])
def test_training_shows_every_colour(skill: str) -> None:
    prompts = prompt_split().training[skill]
    assert {wanted.colour for prompt in prompts for wanted in prompt.objects} == set(PALETTE)


def test_captions_are_distinct_and_have_at_most_eight_words() -> None:
    both = (prompt_split().training, prompt_split().held_out)
    texts = [prompt.text for side in both for prompts in side.values() for prompt in prompts]
    assert len(texts) == len(set(texts)) == 32 + 48 + 96 + 32 + 48 + 672
    assert max(len(text.split()) for text in texts) <= 8


def test_a_relation_seen_from_the_other_side_is_the_same_composition() -> None:
    one = parse_prompt("a circle left of a square")
    assert one.composition == parse_prompt("a square right of a circle").composition
    assert one.composition != parse_prompt("a circle right of a square").composition


def test_parse_prompt_says_what_a_caption_means() -> None:
    prompt = parse_prompt("a red circle and an orange square")
    assert prompt.skill == "color_attribution"
    assert [(wanted.colour, wanted.shape) for wanted in prompt.objects] == [("red", "circle"), ("orange", "square")]
    assert len(parse_prompt("three green squares").objects) == 3


def test_an_unknown_caption_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="a purple cow"):
        parse_prompt("a purple cow")
