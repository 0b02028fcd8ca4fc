"""Attention against the plain formulas it stands for."""

import math

import pytest
import torch
from torch import Tensor

from search_space.attention import Attention, TransformerBlock, rotary_angles, rotate
from tests.search_space.examples import transformer_spec


def repeated_attention(attention: Attention, x: Tensor, context: Tensor, *, num_heads: int) -> Tensor:
    """Softmax attention with keys and values copied for every query head."""

    def heads(tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)  # [B, heads, tokens, D]

    repeats = num_heads // attention.num_kv_heads
    queries = attention.norm_q(heads(attention.to_q(x)))
    keys = attention.norm_k(heads(attention.to_k(context))).repeat_interleave(repeats, dim=1)
    values = heads(attention.to_v(context)).repeat_interleave(repeats, dim=1)
    weights = (queries @ keys.transpose(-1, -2) / math.sqrt(attention.head_dim)).softmax(dim=-1)
    out: Tensor = attention.to_out[0]((weights @ values).transpose(1, 2).flatten(2))
    return out


@pytest.mark.parametrize("num_kv_heads", [4, 2, 1])
@pytest.mark.parametrize("is_cross", [False, True])
def test_grouped_queries_equal_attention_with_repeated_keys_and_values(num_kv_heads: int, is_cross: bool) -> None:
    torch.manual_seed(0)
    spec = transformer_spec(num_kv_heads=num_kv_heads, rope=False)
    attention = Attention(spec, is_cross=is_cross)
    x = torch.randn(2, 36, 32)
    context = torch.randn(2, 7, 24) if is_cross else x
    torch.testing.assert_close(attention(x, context), repeated_attention(attention, x, context, num_heads=4))


def rotated_everywhere(vector: Tensor, size: int) -> Tensor:
    """One vector `[D]`, turned as it would be at each pixel: `[size, size, D]`."""
    tokens = vector.expand(1, size * size, 1, -1)
    return rotate(tokens, rotary_angles(size, vector.shape[0])).reshape(size, size, -1)


def test_rotation_keeps_norms_and_leaves_the_first_pixel_alone() -> None:
    vector = torch.randn(16, generator=torch.Generator().manual_seed(0))
    rotated = rotated_everywhere(vector, 5)
    torch.testing.assert_close(rotated.norm(dim=-1), vector.norm().expand(5, 5))
    assert torch.equal(rotated[0, 0], vector)


def test_scores_of_rotated_queries_and_keys_depend_on_offsets_only() -> None:
    generator = torch.Generator().manual_seed(0)
    queries = rotated_everywhere(torch.randn(16, generator=generator), 5)
    keys = rotated_everywhere(torch.randn(16, generator=generator), 5)
    scores = torch.einsum("abd,ijd->abij", queries, keys)
    torch.testing.assert_close(scores[:4, :4, :4, :4], scores[1:, 1:, 1:, 1:])
    by_row, by_column = scores[0, 0, :, 0], scores[0, 0, 0]
    assert by_row.unique().numel() == by_column.unique().numel() == 5
    assert not torch.allclose(by_row[1:], by_column[1:])


def test_only_self_attention_is_rotated() -> None:
    spec = transformer_spec(rope=True)
    assert Attention(spec, is_cross=False).rotation is not None
    assert Attention(spec, is_cross=True).rotation is None
    assert not Attention(spec, is_cross=False).state_dict().keys() & {"rotation"}


def test_rotation_tells_pixels_apart() -> None:
    """Without it, equal pixels stay equal; with it, two pixels in different places attend differently."""
    torch.manual_seed(0)
    x = torch.randn(1, 36, 32)
    swapped = x[:, torch.randperm(36, generator=torch.Generator().manual_seed(1))]
    order_matters = {}
    for rope in (False, True):
        attention = Attention(transformer_spec(rope=rope), is_cross=False)
        attended, of_swapped = attention(x, x).sum(dim=1), attention(swapped, swapped).sum(dim=1)
        order_matters[rope] = not torch.allclose(attended, of_swapped, atol=1e-5)
    assert order_matters == {False: False, True: True}


def test_without_self_attention_the_norm_replaces_the_stream_only_where_asked() -> None:
    torch.manual_seed(0)
    x = 5 + torch.randn(1, 36, 32)
    kept, replaced = (
        TransformerBlock(
            transformer_spec(self_attention=False, cross_attention=False, norm_replaces_self_attention=replaces)
        )
        for replaces in (False, True)
    )
    for block in (kept, replaced):
        torch.nn.init.zeros_(block.ff.net[2].weight)  # type: ignore[arg-type]
        torch.nn.init.zeros_(block.ff.net[2].bias)  # type: ignore[arg-type]
    assert torch.equal(kept(x, None), x)
    torch.testing.assert_close(replaced(x, None), torch.nn.functional.layer_norm(x, (32,)))
