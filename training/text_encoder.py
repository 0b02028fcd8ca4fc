"""A text encoder for any text, small enough to be trained along with the UNet and free of any download.

Words and punctuation marks are hashed into a table of embeddings: there is no vocabulary to fit, so no word is unknown.
Every word is the sum of two rows chosen by two independent hashes (Hash Embeddings, arXiv 1709.03933), so two words are
confused only if both hashes meet. Positions are learned, and a pre-norm transformer layer lets words look at each
other ("left of" needs that). The empty caption is a start token followed by padding: what classifier-free guidance
calls the unconditional.

Letters: B captions, L tokens (`context_length`), K hashes, D width (`context_width`).
"""

import math
import re
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import TextEncoderConfig

PADDING_ID = 0
START_ID = 1
_NUM_RESERVED_IDS = 2
_TOKEN_PATTERN = re.compile(r"\w+|[^\w\s]")


def token_ids(captions: Sequence[str], *, context_length: int, config: TextEncoderConfig) -> Tensor:
    """Captions as rows of embedding indices; the same on every machine and in every process.

    Words beyond `context_length - 1` are left out.

    Returns:
        `[B, L, K]` int64; the reserved ids first, then the buckets.
    """
    rows = torch.full((len(captions), context_length, config.num_hashes), PADDING_ID, dtype=torch.int64)
    rows[:, 0] = START_ID
    for row, caption in zip(rows, captions, strict=True):
        words = _TOKEN_PATTERN.findall(caption.lower())[: context_length - 1]
        for position, word in enumerate(words, start=1):
            row[position] = torch.tensor(_word_ids(word, config))
    return rows


def _word_ids(word: str, config: TextEncoderConfig) -> list[int]:
    """One bucket for each hash; crc32 with a prefix, since Python's own hash() changes with the process."""
    hashes = [zlib.crc32(f"{index}:{word}".encode()) for index in range(config.num_hashes)]
    return [_NUM_RESERVED_IDS + _mixed(value) % config.num_buckets for value in hashes]


def _mixed(value: int) -> int:
    """Spreads crc32's linear structure, which would tie the two hashes to each other (MurmurHash3's finaliser)."""
    value = ((value ^ (value >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    value = ((value ^ (value >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return value ^ (value >> 16)


class TextEncoder(nn.Module):
    """Captions to the context that the UNet's cross-attention reads."""

    def __init__(self, config: TextEncoderConfig, *, context_length: int, context_width: int) -> None:
        super().__init__()
        self.config = config
        self.context_length = context_length
        self.embeddings = nn.Embedding(_NUM_RESERVED_IDS + config.num_buckets, context_width)
        self.positions = nn.Parameter(torch.randn(context_length, context_width) * 0.1)
        self.layers = nn.ModuleList(_TransformerLayer(config, context_width) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(context_width)

    def forward(self, captions: Sequence[str]) -> Tensor:
        """Returns the context `[B, L, D]`; padding is part of it, as in CLIP's use by Stable Diffusion."""
        ids = token_ids(captions, context_length=self.context_length, config=self.config)  # [B, L, K]
        return self.encode_ids(ids.to(self.positions.device))

    def encode_ids(self, ids: Tensor) -> Tensor:
        """The part that runs on a device: `token_ids` `[B, L, K]` to the context `[B, L, D]`."""
        words = self.embeddings(ids).sum(dim=2)  # [B, L, D]
        context = words * self.config.num_hashes**-0.5 + self.positions  # [B, L, D]
        for layer in self.layers:
            context = layer(context)  # [B, L, D]
        normed: Tensor = self.norm(context)  # [B, L, D]
        return normed


class _TransformerLayer(nn.Module):
    """Pre-norm self-attention and feed-forward network."""

    def __init__(self, config: TextEncoderConfig, width: int) -> None:
        super().__init__()
        self.head_dim = math.gcd(config.head_dim, width)
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, config.feed_forward_ratio * width),
            nn.GELU(),
            nn.Linear(config.feed_forward_ratio * width, width),
        )

    def forward(self, context: Tensor) -> Tensor:
        context = context + self._attend(self.attention_norm(context))  # [B, L, D]
        context = context + self.feed_forward(context)  # [B, L, D]
        return context

    def _attend(self, context: Tensor) -> Tensor:
        batch, length, width = context.shape
        heads = self.query_key_value(context).view(batch, length, 3, width // self.head_dim, self.head_dim)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)  # each [B, heads, L, head_dim]
        attended = functional.scaled_dot_product_attention(query, key, value)  # [B, heads, L, head_dim]
        joined: Tensor = self.attention_out(attended.transpose(1, 2).reshape(batch, length, width))  # [B, L, D]
        return joined
