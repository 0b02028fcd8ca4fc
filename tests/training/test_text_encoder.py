"""The text encoder: any text, the same ids everywhere, and words in their places."""

import os
import subprocess
import sys

import pytest
import torch

from training.config import TextEncoderConfig
from training.data.open_data import open_data
from training.text_encoder import PADDING_ID, START_ID, TextEncoder, token_ids

CONFIG = TextEncoderConfig()


def _ids(caption: str) -> torch.Tensor:
    return token_ids([caption], context_length=8, config=CONFIG)[0]


def test_the_empty_caption_is_a_start_and_padding() -> None:
    ids = _ids("")
    assert (ids[0] == START_ID).all()
    assert (ids[1:] == PADDING_ID).all()


def test_case_and_spaces_do_not_matter_but_order_does() -> None:
    assert torch.equal(_ids("A Red  circle"), _ids("a red circle"))
    assert not torch.equal(_ids("red circle"), _ids("circle red"))


@pytest.mark.parametrize("caption", ["x" * 10_000, "une école, 東京!", "\n\t\x00", "word " * 1000, "🙂 🙃"])
def test_any_text_has_ids_in_range(caption: str) -> None:
    ids = _ids(caption)
    assert ids.shape == (8, CONFIG.num_hashes)
    assert 0 <= ids.min() <= ids.max() < 2 + CONFIG.num_buckets


def test_ids_do_not_change_with_the_process() -> None:
    code = (
        "from training.config import TextEncoderConfig; from training.text_encoder import token_ids; "
        "print(token_ids(['a red circle'], context_length=8, config=TextEncoderConfig())[0].tolist())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    output = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert output.stdout.strip() == str(_ids("a red circle").tolist())


def test_no_two_words_of_scenes_share_all_their_buckets() -> None:
    words = {word for prompt in open_data("scenes").prompts() for word in prompt.split()}
    buckets = {tuple(_ids(word)[1].tolist()) for word in words}
    assert len(buckets) == len(words)


def test_words_look_at_each_other_and_know_their_places() -> None:
    encoder = TextEncoder(CONFIG, context_length=8, context_width=32)
    context = encoder(["circle left of square", "square left of circle", "circle left of square"])
    assert context.shape == (3, 8, 32)
    assert not torch.allclose(context[0, 2], context[1, 2])  # "left" is told who is left of whom
    assert torch.equal(context[0], context[2])


def test_a_context_of_one_channel_and_one_token_is_allowed() -> None:
    assert TextEncoder(CONFIG, context_length=1, context_width=1)(["a red circle"]).shape == (1, 1, 1)
