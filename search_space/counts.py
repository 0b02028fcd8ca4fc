"""What a block costs on paper: parameters, multiply-accumulates, bytes. Analytic, exact, without torch.

A multiply-accumulate (`macs`) is one multiplication and one addition, counted once; only matrix products and
convolutions count, as in torch's `FlopCounterMode` (which reports two floating-point operations for each).
`docs/units.md` says how papers count.
"""

from dataclasses import dataclass
from typing import assert_never

from search_space.arch import ArchConfig, ConvolutionKind
from search_space.specs import (
    AddedEmbeddingSpec,
    BlockSpec,
    ContextProjectionSpec,
    ConvSpec,
    DownsampleSpec,
    NormOutSpec,
    ResidualSpec,
    TimeEmbeddingSpec,
    TransformerSpec,
    UpsampleSpec,
)
from search_space.walk import block_specs


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Costs of one architecture, or one block, at batch size 1."""

    num_params: int
    """Trainable numbers."""
    macs: int
    """Multiply-accumulates of one forward pass."""
    weight_bytes: int
    """Size of the weights."""
    activation_bytes: int
    """A block: what enters and leaves it. An architecture: the same of its most demanding block."""
    score_bytes: int
    """An attention's largest matrix of scores; 0 without attention. An architecture: of its most demanding block."""


def count(arch: ArchConfig, *, bytes_per_number: int = 4) -> Counts:
    """Costs of a whole network at batch size 1 and at its own `sample_size` and `context_length`."""
    blocks = [count_block(spec, bytes_per_number=bytes_per_number) for spec in block_specs(arch)]
    return Counts(
        num_params=sum(block.num_params for block in blocks),
        macs=sum(block.macs for block in blocks),
        weight_bytes=sum(block.weight_bytes for block in blocks),
        activation_bytes=max(block.activation_bytes for block in blocks),
        score_bytes=max(block.score_bytes for block in blocks),
    )


def count_block(spec: BlockSpec, *, bytes_per_number: int = 4) -> Counts:
    """Costs of one block at batch size 1."""
    return Counts(
        num_params=num_params(spec),
        macs=macs(spec),
        weight_bytes=weight_bytes(spec, bytes_per_number=bytes_per_number),
        activation_bytes=activation_bytes(spec, bytes_per_number=bytes_per_number),
        score_bytes=score_bytes(spec, bytes_per_number=bytes_per_number),
    )


def weight_bytes(spec: BlockSpec, *, bytes_per_number: int = 4) -> int:
    """Size of a block's weights: 4 bytes a number in float32, 2 in float16."""
    return num_params(spec) * bytes_per_number


def num_params(spec: BlockSpec) -> int:
    """Trainable numbers of one block."""
    match spec:
        case ConvSpec():
            return spec.in_channels * spec.out_channels * spec.kernel**2 + spec.out_channels
        case TimeEmbeddingSpec() | AddedEmbeddingSpec():
            return _linear(spec.in_width, spec.out_width) + _linear(spec.out_width, spec.out_width)
        case ContextProjectionSpec():
            return _linear(spec.in_width, spec.out_width) + (spec.out_width if spec.norm == "rms_norm" else 0)
        case ResidualSpec():
            return _residual_params(spec)
        case TransformerSpec():
            return _transformer_params(spec)
        case DownsampleSpec() | UpsampleSpec():
            return _convolution_params(spec.convolution, spec.channels, spec.channels, 3)
        case NormOutSpec():
            return 2 * spec.channels
        case _:
            assert_never(spec)


def macs(spec: BlockSpec) -> int:
    """Multiply-accumulates of one forward pass of one block at batch size 1."""
    match spec:
        case ConvSpec():
            return spec.in_channels * spec.out_channels * spec.kernel**2 * spec.size**2
        case TimeEmbeddingSpec() | AddedEmbeddingSpec():
            return spec.in_width * spec.out_width + spec.out_width**2
        case ContextProjectionSpec():
            return spec.in_width * spec.out_width * spec.length
        case ResidualSpec():
            return _residual_macs(spec)
        case TransformerSpec():
            return _transformer_macs(spec)
        case DownsampleSpec():
            return _convolution_macs(spec.convolution, spec.channels, spec.channels, 3) * (spec.size // 2) ** 2
        case UpsampleSpec():
            return _convolution_macs(spec.convolution, spec.channels, spec.channels, 3) * (spec.size * 2) ** 2
        case NormOutSpec():
            return 0
        case _:
            assert_never(spec)


def activation_bytes(spec: BlockSpec, *, bytes_per_number: int = 4) -> int:
    """Size of what enters and leaves a block; what a runtime keeps inside is its own affair."""
    match spec:
        case ConvSpec():
            numbers = (spec.in_channels + spec.out_channels) * spec.size**2
        case TimeEmbeddingSpec() | AddedEmbeddingSpec():
            numbers = spec.in_width + spec.out_width
        case ContextProjectionSpec():
            numbers = (spec.in_width + spec.out_width) * spec.length
        case ResidualSpec():
            numbers = (spec.in_channels + spec.out_channels) * spec.size**2 + spec.time_width
        case TransformerSpec():
            numbers = 2 * spec.channels * spec.size**2 + spec.context_width * spec.context_length
        case DownsampleSpec():
            numbers = spec.channels * (spec.size**2 + (spec.size // 2) ** 2)
        case UpsampleSpec():
            numbers = spec.channels * (spec.size**2 + (spec.size * 2) ** 2)
        case NormOutSpec():
            numbers = 2 * spec.channels * spec.size**2
        case _:
            assert_never(spec)
    return numbers * bytes_per_number


def score_bytes(spec: BlockSpec, *, bytes_per_number: int = 4) -> int:
    """Size of a block's largest matrix of attention scores, one for each head, query and key, if it is written out."""
    if not isinstance(spec, TransformerSpec):
        return 0
    tokens = spec.size**2
    num_keys = max(tokens if spec.self_attention else 0, spec.context_length if spec.cross_attention else 0)
    return spec.num_heads * tokens * num_keys * bytes_per_number


def _linear(in_width: int, out_width: int) -> int:
    """Parameters of a linear map with bias."""
    return in_width * out_width + out_width


def _convolution_params(kind: ConvolutionKind, in_channels: int, out_channels: int, kernel: int) -> int:
    """A full convolution has a bias, a separable one has none."""
    return _convolution_macs(kind, in_channels, out_channels, kernel) + (out_channels if kind == "full" else 0)


def _convolution_macs(kind: ConvolutionKind, in_channels: int, out_channels: int, kernel: int) -> int:
    """Multiply-accumulates for one pixel out, which is also the number of weights."""
    match kind:
        case "full":
            return in_channels * out_channels * kernel**2
        case "separable":
            return in_channels * kernel**2 + in_channels * out_channels
        case _:
            assert_never(kind)


def _residual_params(spec: ResidualSpec) -> int:
    norms = 2 * spec.in_channels + 2 * spec.hidden_channels
    convolutions = _convolution_params(
        spec.convolution, spec.in_channels, spec.hidden_channels, spec.kernel
    ) + _convolution_params(spec.convolution, spec.hidden_channels, spec.out_channels, spec.kernel)
    shortcut = _linear(spec.in_channels, spec.out_channels) if spec.in_channels != spec.out_channels else 0
    return norms + convolutions + _linear(spec.time_width, spec.hidden_channels) + shortcut


def _residual_macs(spec: ResidualSpec) -> int:
    per_pixel = _convolution_macs(
        spec.convolution, spec.in_channels, spec.hidden_channels, spec.kernel
    ) + _convolution_macs(spec.convolution, spec.hidden_channels, spec.out_channels, spec.kernel)
    if spec.in_channels != spec.out_channels:
        per_pixel += spec.in_channels * spec.out_channels
    return per_pixel * spec.size**2 + spec.time_width * spec.hidden_channels


def _attention_weights(spec: TransformerSpec, *, kv_width: int) -> int:
    """Weights of the four linear maps of one attention: queries, keys, values, out."""
    kv_channels = spec.num_kv_heads * spec.head_dim
    return 2 * spec.channels**2 + 2 * kv_width * kv_channels


def _feed_forward_maps(spec: TransformerSpec) -> int:
    """Hidden-width outputs of the first linear map: two for the gated kind."""
    return 2 if spec.feed_forward == "geglu" else 1


def _transformer_params(spec: TransformerSpec) -> int:
    layer_norm = 2 * spec.channels
    attention_extras = spec.channels + (2 * spec.head_dim if spec.qk_norm == "rms_norm" else 0)
    block = layer_norm + _linear(spec.channels, _feed_forward_maps(spec) * spec.hidden_channels)
    block += _linear(spec.hidden_channels, spec.channels)
    if spec.self_attention:
        block += layer_norm + _attention_weights(spec, kv_width=spec.channels) + attention_extras
    elif spec.norm_replaces_self_attention:
        block += layer_norm
    if spec.cross_attention:
        block += layer_norm + _attention_weights(spec, kv_width=spec.context_width) + attention_extras
    around = 2 * spec.channels + 2 * _linear(spec.channels, spec.channels) if spec.projection != "none" else 0
    return around + spec.depth * block


def _transformer_macs(spec: TransformerSpec) -> int:
    tokens, channels = spec.size**2, spec.channels
    kv_channels = spec.num_kv_heads * spec.head_dim
    block = tokens * (_feed_forward_maps(spec) + 1) * channels * spec.hidden_channels
    if spec.self_attention:
        block += tokens * _attention_weights(spec, kv_width=channels) + 2 * tokens * tokens * channels
    if spec.cross_attention:
        length = spec.context_length
        block += tokens * 2 * channels**2 + length * 2 * spec.context_width * kv_channels
        block += 2 * tokens * length * channels
    around = 2 * tokens * channels**2 if spec.projection != "none" else 0
    return around + spec.depth * block
