"""Transformers in the layout that Apple's Neural Engine prefers: channels first, one head at a time ("split-einsum").

After "Deploying Transformers on the Apple Neural Engine" (Apple Machine Learning Research, June 2022): activations are
`[B, C, 1, S]`, so that the long last axis is the one the engine aligns its buffers to; every linear map is a 1 x 1
convolution; attention runs head by head through two einsums that need no transposition of what they multiply. The
weights are those of the plain module, only seen under another shape, and so are the results.

Letters: B batch, C channels, S tokens that ask (pixels), L tokens that are looked at, D head dimension, H and W the
feature map.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_space.attention import Attention, FeedForward, GatedInput, TransformerBlock
from search_space.blocks import Transformer


def split_einsum(module: nn.Module) -> nn.Module:
    """The same module with every transformer in it in split-einsum layout; the weights are shared, not copied.

    Args:
        module: A block or a whole network; it stays as it is.
    """
    if isinstance(module, Transformer):
        return SplitEinsumTransformer(module)
    if not any(isinstance(child, Transformer) for child in module.modules()):
        return module
    twin = copy.copy(module)
    twin._modules = {name: child if child is None else split_einsum(child) for name, child in module._modules.items()}
    return twin


class SplitEinsumTransformer(nn.Module):
    """`Transformer`: feature map and text in, feature map out, both in the plain module's shapes."""

    def __init__(self, plain: Transformer) -> None:
        super().__init__()
        has_projection = plain.projection != "none"
        self.norm = plain.norm if has_projection else nn.Identity()
        self.proj_in = _as_convolution(plain.proj_in) if has_projection else nn.Identity()
        self.proj_out = _as_convolution(plain.proj_out) if has_projection else nn.Identity()
        self.has_residual = has_projection
        self.transformer_blocks = nn.ModuleList(
            SplitEinsumBlock(block) for block in plain.transformer_blocks if isinstance(block, TransformerBlock)
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps `x: [B, C, H, W]` to the same shape, looking at `context: [B, L, context_width]`."""
        tokens = self.proj_in(self.norm(x)).flatten(2).unsqueeze(2)  # [B, C, 1, S]
        text = None if context is None else context.transpose(1, 2).unsqueeze(2)  # [B, context_width, 1, L]
        for block in self.transformer_blocks:
            tokens = block(tokens, text)
        out: Tensor = self.proj_out(tokens.reshape(x.shape))
        return x + out if self.has_residual else out


class SplitEinsumBlock(nn.Module):
    """`TransformerBlock` over `[B, C, 1, S]`."""

    def __init__(self, plain: TransformerBlock) -> None:
        super().__init__()
        self.norm1 = None if plain.norm1 is None else ChannelNorm(plain.norm1)
        self.attn1 = None if plain.attn1 is None else SplitEinsumAttention(plain.attn1)
        self.norm2 = None if plain.norm2 is None else ChannelNorm(plain.norm2)
        self.attn2 = None if plain.attn2 is None else SplitEinsumAttention(plain.attn2)
        self.norm3 = ChannelNorm(plain.norm3)
        self.ff = SplitEinsumFeedForward(plain.ff)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Updates `x: [B, C, 1, S]`, looking at `context: [B, context_width, 1, L]` if it has cross-attention."""
        if self.norm1 is not None:
            normed = self.norm1(x)
            x = x + self.attn1(normed, normed) if self.attn1 is not None else normed  # as the plain block does
        if self.norm2 is not None and self.attn2 is not None:
            x = x + self.attn2(self.norm2(x), context)
        fed: Tensor = self.ff(self.norm3(x))
        return x + fed  # [B, C, 1, S]


class SplitEinsumAttention(nn.Module):
    """`Attention`, head by head; query heads that share a key/value head read the same slice."""

    rotation: Tensor | None

    def __init__(self, plain: Attention) -> None:
        super().__init__()
        self.head_dim = plain.head_dim
        self.num_queries_per_key = plain.to_q.out_features // plain.head_dim // plain.num_kv_heads
        self.to_q = _as_convolution(plain.to_q)
        self.to_k = _as_convolution(plain.to_k)
        self.to_v = _as_convolution(plain.to_v)
        self.to_out = _as_convolution(plain.to_out[0])
        self.norm_q = _head_norm(plain.norm_q)
        self.norm_k = _head_norm(plain.norm_k)
        # [2, S, 1, D / 2] to [2, D / 2, 1, S]
        rotation = None if plain.rotation is None else plain.rotation.permute(0, 3, 2, 1)
        self.register_buffer("rotation", rotation, persistent=False)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Attends from `x: [B, C, 1, S]` to `context: [B, kv_width, 1, L]`, which is `x` for self-attention."""
        queries = [self._rotate(self.norm_q(head)) for head in self.to_q(x).split(self.head_dim, dim=1)]
        keys = [self._rotate(self.norm_k(head)) for head in self.to_k(context).split(self.head_dim, dim=1)]
        values = self.to_v(context).split(self.head_dim, dim=1)  # each of these [B, D, 1, S or L]
        columns = [key.transpose(1, 3) for key in keys]  # [B, L, 1, D]
        heads = []
        for index, query in enumerate(queries):
            shared = index // self.num_queries_per_key
            scores = torch.einsum("bdhs,blhd->blhs", query, columns[shared]) * self.head_dim**-0.5  # [B, L, 1, S]
            heads.append(torch.einsum("blhs,bdhl->bdhs", scores.softmax(dim=1), values[shared]))  # [B, D, 1, S]
        out: Tensor = self.to_out(torch.cat(heads, dim=1))  # [B, C, 1, S]
        return out

    def _rotate(self, x: Tensor) -> Tensor:
        """Turns every pair `(x[:, i], x[:, i + D / 2])` of `x: [B, D, 1, S]` by its pixel's angle."""
        if self.rotation is None:
            return x
        cosine, sine = self.rotation.unbind(0)
        first, second = x.chunk(2, dim=1)
        return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=1)


class SplitEinsumFeedForward(nn.Module):
    """`FeedForward` with 1 x 1 convolutions."""

    def __init__(self, plain: FeedForward) -> None:
        super().__init__()
        first, _, last = plain.net
        self.is_gated = isinstance(first, GatedInput)
        self.proj = _as_convolution(first.get_submodule("proj"))
        self.out = _as_convolution(last)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.proj(x)  # [B, hidden, 1, S], twice as many channels with a gate
        if self.is_gated:
            hidden, gate = hidden.chunk(2, dim=1)
            hidden = hidden * F.gelu(gate)
        else:
            hidden = F.gelu(hidden)
        out: Tensor = self.out(hidden)  # [B, C, 1, S]
        return out


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of `[B, C, 1, S]`."""

    def __init__(self, plain: nn.LayerNorm) -> None:
        super().__init__()
        self.eps = plain.eps
        self.weight, self.bias = _column(plain.weight), _column(plain.bias)

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(dim=1, keepdim=True)
        variance = centred.square().mean(dim=1, keepdim=True)
        return centred * (variance + self.eps).rsqrt() * self.weight + self.bias


class HeadNorm(nn.Module):
    """RMSNorm over the channels of one head, `[B, D, 1, S]`."""

    def __init__(self, plain: nn.RMSNorm) -> None:
        super().__init__()
        assert plain.eps is not None
        self.eps = plain.eps
        self.weight = _column(plain.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.square().mean(dim=1, keepdim=True) + self.eps).rsqrt() * self.weight


def _head_norm(plain: nn.Module) -> nn.Module:
    return HeadNorm(plain) if isinstance(plain, nn.RMSNorm) else nn.Identity()


def _as_convolution(plain: nn.Module) -> nn.Conv2d:
    """A linear map as a 1 x 1 convolution with the same numbers; a 1 x 1 convolution is one already."""
    if isinstance(plain, nn.Conv2d):
        return plain
    assert isinstance(plain, nn.Linear)
    with torch.device("meta"):
        convolution = nn.Conv2d(plain.in_features, plain.out_features, 1, bias=plain.bias is not None)
    convolution.weight = _shared(plain.weight[:, :, None, None])
    if plain.bias is not None:
        convolution.bias = plain.bias
    return convolution


def _column(vector: Tensor) -> nn.Parameter:
    """`[C]` as `[C, 1, 1]`, which every map `[B, C, 1, S]` can be multiplied with."""
    return _shared(vector[:, None, None])


def _shared(view: Tensor) -> nn.Parameter:
    return nn.Parameter(view.detach(), requires_grad=False)
