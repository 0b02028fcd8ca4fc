"""A small module that has every operator a UNet block is made of, for tests of the exporters alone."""

import torch
from torch import Tensor, nn


class AttentionBlock(nn.Module):
    """Convolution, group norm, RMS norm, grouped attention and GEGLU."""

    def __init__(self, num_channels: int, num_heads: int, num_kv_heads: int) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads, self.head_dim = num_heads, num_kv_heads, num_channels // num_heads
        self.conv = nn.Conv2d(num_channels, num_channels, 3, padding=1)
        self.group_norm = nn.GroupNorm(4, num_channels)
        self.layer_norm = nn.LayerNorm(num_channels)
        self.to_query = nn.Linear(num_channels, num_channels)
        self.to_key = nn.Linear(num_channels, num_kv_heads * self.head_dim)
        self.to_value = nn.Linear(num_channels, num_kv_heads * self.head_dim)
        self.query_norm = nn.RMSNorm(self.head_dim)
        self.feed_forward = nn.Linear(num_channels, 4 * num_channels)
        self.project_out = nn.Linear(2 * num_channels, num_channels)

    def forward(self, hidden: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        hidden = nn.functional.silu(self.group_norm(self.conv(hidden)))  # [B, C, H, W]
        batch, channels, height, width = hidden.shape
        tokens = self.layer_norm(hidden.flatten(2).transpose(1, 2))  # [B, H * W, C]
        query = self.query_norm(self.to_query(tokens).view(batch, -1, self.num_heads, self.head_dim)).transpose(1, 2)
        key = self.to_key(context).view(batch, -1, self.num_kv_heads, self.head_dim).transpose(1, 2)
        value = self.to_value(context).view(batch, -1, self.num_kv_heads, self.head_dim).transpose(1, 2)
        query = query.reshape(batch, self.num_kv_heads, -1, self.head_dim)  # heads of one key head stacked as rows
        attended = nn.functional.scaled_dot_product_attention(query, key, value)
        attended = attended.reshape(batch, self.num_heads, -1, self.head_dim)
        tokens = tokens + attended.transpose(1, 2).reshape(batch, -1, channels)  # [B, H * W, C]
        content, gate = self.feed_forward(tokens).chunk(2, dim=-1)
        tokens = self.project_out(content * nn.functional.gelu(gate))
        grid = tokens.transpose(1, 2).reshape(batch, channels, height, width)
        return nn.functional.interpolate(grid, scale_factor=2.0), tokens


def block_and_inputs(num_kv_heads: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    torch.manual_seed(0)
    block = AttentionBlock(32, num_heads=4, num_kv_heads=num_kv_heads)
    return block, (torch.randn(2, 32, 8, 8), torch.randn(2, 5, 32))
