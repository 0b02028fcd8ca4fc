"""Transformer blocks over pixels: self-attention, cross-attention to the text, feed-forward.

Heads of queries may outnumber heads of keys and values: as many is MHSA, one is MQA (Shazeer, arXiv:1911.02150), a
divisor between is GQA (Ainslie et al., arXiv:2305.13245). Queries that share a key/value head stand behind one another
along the token axis, so keys and values are never repeated in memory; the arithmetic is that of repeating them.

Letters: B batch, N pixels (tokens), L text tokens, C channels, D head dimension, G key/value heads, R query heads for
each of them. Parameter names follow diffusers' `BasicTransformerBlock`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_space.arch import FeedForwardKind
from search_space.specs import TransformerSpec

NORM_EPS = 1e-5
"""Of every LayerNorm and of the RMSNorm over queries and keys, as in diffusers."""


class Attention(nn.Module):
    """Multi-, grouped- or single-key attention from pixels to pixels or to text."""

    rotation: Tensor | None

    def __init__(self, spec: TransformerSpec, *, is_cross: bool) -> None:
        super().__init__()
        kv_width = spec.context_width if is_cross else spec.channels
        kv_channels = spec.num_kv_heads * spec.head_dim
        self.num_kv_heads = spec.num_kv_heads
        self.head_dim = spec.head_dim
        self.to_q = nn.Linear(spec.channels, spec.channels, bias=False)
        self.to_k = nn.Linear(kv_width, kv_channels, bias=False)
        self.to_v = nn.Linear(kv_width, kv_channels, bias=False)
        has_norm = spec.qk_norm == "rms_norm"
        self.norm_q = nn.RMSNorm(spec.head_dim, eps=NORM_EPS) if has_norm else nn.Identity()
        self.norm_k = nn.RMSNorm(spec.head_dim, eps=NORM_EPS) if has_norm else nn.Identity()
        self.to_out = nn.ModuleList([nn.Linear(spec.channels, spec.channels)])
        has_rotation = spec.rope and not is_cross
        self.register_buffer(
            "rotation", rotary_angles(spec.size, spec.head_dim) if has_rotation else None, persistent=False
        )

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Attends from `x: [B, N, C]` to `context: [B, L, kv_width]`, which is `x` itself for self-attention."""
        batch, tokens, channels = x.shape
        queries = self.norm_q(self.to_q(x).view(batch, tokens, -1, self.head_dim))  # [B, N, GR, D]
        keys = self.norm_k(self.to_k(context).view(batch, -1, self.num_kv_heads, self.head_dim))  # [B, L, G, D]
        values = self.to_v(context).view(batch, -1, self.num_kv_heads, self.head_dim)  # [B, L, G, D]
        if self.rotation is not None:
            queries, keys = rotate(queries, self.rotation), rotate(keys, self.rotation)

        queries = queries.transpose(1, 2).reshape(batch, self.num_kv_heads, -1, self.head_dim)  # [B, G, RN, D]
        attended = F.scaled_dot_product_attention(queries, keys.transpose(1, 2), values.transpose(1, 2))
        attended = attended.reshape(batch, -1, tokens, self.head_dim).transpose(1, 2)  # [B, N, GR, D]
        out: Tensor = self.to_out[0](attended.reshape(batch, tokens, channels))  # [B, N, C]
        return out


class GatedInput(nn.Module):
    """First half of a GEGLU feed-forward layer (Shazeer, arXiv:2002.05202)."""

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 2 * hidden_channels)

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.proj(x)  # [B, N, 2 * hidden]
        hidden, gate = projected.chunk(2, dim=-1)
        return hidden * F.gelu(gate)


class PlainInput(nn.Module):
    """First half of a GELU feed-forward layer."""

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, hidden_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.proj(x))


class FeedForward(nn.Module):
    """Two linear maps with a gate or a GELU between; the middle of `net` is diffusers' dropout, here nothing."""

    def __init__(self, channels: int, *, hidden_channels: int, kind: FeedForwardKind) -> None:
        super().__init__()
        first = GatedInput(channels, hidden_channels) if kind == "geglu" else PlainInput(channels, hidden_channels)
        self.net = nn.Sequential(first, nn.Identity(), nn.Linear(hidden_channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)  # [B, N, C]
        return out


class TransformerBlock(nn.Module):
    """Pre-norm self-attention, cross-attention and feed-forward, each optional but the last, each with a residual."""

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__()
        has_norm1 = spec.self_attention or spec.norm_replaces_self_attention
        self.norm1 = nn.LayerNorm(spec.channels, eps=NORM_EPS) if has_norm1 else None
        self.attn1 = Attention(spec, is_cross=False) if spec.self_attention else None
        self.norm2 = nn.LayerNorm(spec.channels, eps=NORM_EPS) if spec.cross_attention else None
        self.attn2 = Attention(spec, is_cross=True) if spec.cross_attention else None
        self.norm3 = nn.LayerNorm(spec.channels, eps=NORM_EPS)
        self.ff = FeedForward(spec.channels, hidden_channels=spec.hidden_channels, kind=spec.feed_forward)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Updates `x: [B, N, C]`, looking at `context: [B, L, context_width]` if it has cross-attention."""
        if self.norm1 is not None:
            normed = self.norm1(x)
            # Without self-attention DreamLite passes the normalised stream on in place of the stream itself.
            x = x + self.attn1(normed, normed) if self.attn1 is not None else normed  # [B, N, C]
        if self.norm2 is not None and self.attn2 is not None:
            x = x + self.attn2(self.norm2(x), context)
        fed: Tensor = self.ff(self.norm3(x))
        return x + fed  # [B, N, C]


def rotary_angles(size: int, head_dim: int) -> Tensor:
    """Cosines and sines of 2-D rotary position embedding (Su et al., arXiv:2104.09864; axial, as in vision models).

    The first half of the head dimension turns with the row, the second half with the column.

    Returns:
        `[2, size * size, 1, head_dim / 2]`: cosine, then sine, of each pair of channels at each pixel.
    """
    # On the CPU even under `torch.device("meta")`: no checkpoint holds these numbers, so none would fill them in.
    frequencies: Tensor = 100.0 ** -(torch.arange(head_dim // 4, device="cpu") / (head_dim // 4))  # [D / 4]
    angles = torch.arange(size, device="cpu")[:, None] * frequencies  # [size, D / 4]
    rows = angles[:, None].expand(size, size, -1)
    columns = angles[None].expand(size, size, -1)
    grid = torch.cat([rows, columns], dim=-1).reshape(size * size, 1, head_dim // 2)
    return torch.stack([grid.cos(), grid.sin()])


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turns every pair `(x[..., i], x[..., i + D / 2])` of `x: [B, N, heads, D]` by its pixel's angle."""
    cosine, sine = rotation.to(x.dtype).unbind(0)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
