"""Convolutions of the search space: full, or depthwise-separable (Howard et al., MobileNets, arXiv:1704.04861).

Letters: B batch, C channels, H and W the feature map.
"""

from typing import assert_never

from torch import Tensor, nn

from search_space.arch import ConvolutionKind


class SeparableConv2d(nn.Module):
    """A depthwise k x k convolution, then a pointwise 1 x 1 convolution; no biases, as in DreamLite."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, kernel, stride=stride, padding=kernel // 2, groups=in_channels, bias=False
        )
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pointwise: Tensor = self.pointwise(self.depthwise(x))  # [B, C_out, H / stride, W / stride]
        return pointwise


def convolution(
    kind: ConvolutionKind, in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1
) -> nn.Module:
    """A convolution of the given kind that keeps the resolution, or divides it by `stride`."""
    match kind:
        case "full":
            return nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2)
        case "separable":
            return SeparableConv2d(in_channels, out_channels, kernel=kernel, stride=stride)
        case _:
            assert_never(kind)
