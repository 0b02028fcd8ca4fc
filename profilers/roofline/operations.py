"""A block as the list of operations a phone's compiler sees: what each multiplies and what each moves.

A chip runs a convolution, a matrix product and a normalisation at very different rates, so the formula needs more than
a block's multiply-accumulates. The list follows the modules of `search_space/blocks.py` line by line, and its
multiply-accumulates add up to `search_space.counts.macs(spec)` exactly. Imports no torch.

Letters: N pixels (tokens), L tokens attended to.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, assert_never, get_args

from search_space.arch import ConvolutionKind
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

OperationKind = Literal["full_convolution", "depthwise_convolution", "linear", "attention", "elementwise"]
"""Linear: linear maps and 1 x 1 convolutions. Attention: its two products and the softmax between, which grow with the
square of the pixels. Elementwise: normalisations, activations, sums, concatenations, resizing, rotations."""

OPERATION_KINDS: tuple[OperationKind, ...] = get_args(OperationKind)


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One operation at batch size 1."""

    kind: OperationKind
    """What decides its rate."""
    macs: int = 0
    """Multiply-accumulates."""
    num_activations: int
    """Numbers read and written; they grow with the batch."""
    num_weights: int = 0
    """Weights read; they do not grow with the batch."""
    num_launches: int = 1
    """How often the chip starts something: an attention's product is one matrix product for each key/value head."""


def operations(spec: BlockSpec) -> tuple[Operation, ...]:
    """The operations of one block, in the order in which they run."""
    return tuple(_operations(spec))


def _operations(spec: BlockSpec) -> Iterator[Operation]:
    match spec:
        case ConvSpec():
            yield _full_convolution(spec.in_channels, spec.out_channels, spec.kernel, spec.size**2, spec.size**2)
        case TimeEmbeddingSpec() | AddedEmbeddingSpec():
            yield _linear(spec.in_width, spec.out_width, tokens=1)
            yield _elementwise(spec.out_width)
            yield _linear(spec.out_width, spec.out_width, tokens=1)
        case ContextProjectionSpec():
            yield _linear(spec.in_width, spec.out_width, tokens=spec.length)
            if spec.norm == "rms_norm":
                yield _elementwise(spec.out_width * spec.length)
        case ResidualSpec():
            yield from _residual(spec)
        case TransformerSpec():
            yield from _transformer(spec)
        case DownsampleSpec():
            pixels_out = (spec.size // 2) ** 2
            yield from _convolution(spec.convolution, spec.channels, spec.channels, 3, spec.size**2, pixels_out)
        case UpsampleSpec():
            pixels_out = (2 * spec.size) ** 2
            yield Operation(kind="elementwise", num_activations=spec.channels * (spec.size**2 + pixels_out))
            yield from _convolution(spec.convolution, spec.channels, spec.channels, 3, pixels_out, pixels_out)
        case NormOutSpec():
            yield from _norm_and_activation(spec.channels * spec.size**2)
        case _:
            assert_never(spec)


def _residual(spec: ResidualSpec) -> Iterator[Operation]:
    pixels, kernel = spec.size**2, spec.kernel
    if spec.skip_channels:
        yield _elementwise(spec.in_channels * pixels)
    yield from _norm_and_activation(spec.in_channels * pixels)
    yield from _convolution(spec.convolution, spec.in_channels, spec.hidden_channels, kernel, pixels, pixels)
    yield _elementwise(spec.time_width)
    yield _linear(spec.time_width, spec.hidden_channels, tokens=1)
    yield _elementwise(spec.hidden_channels * pixels)  # the time embedding is added
    yield from _norm_and_activation(spec.hidden_channels * pixels)
    yield from _convolution(spec.convolution, spec.hidden_channels, spec.out_channels, kernel, pixels, pixels)
    if spec.in_channels != spec.out_channels:
        yield _linear(spec.in_channels, spec.out_channels, tokens=pixels)
    yield _sum(spec.out_channels * pixels)


def _transformer(spec: TransformerSpec) -> Iterator[Operation]:
    stream = spec.channels * spec.size**2
    if spec.projection != "none":
        yield _elementwise(stream)
        yield _linear(spec.channels, spec.channels, tokens=spec.size**2)
    for _ in range(spec.depth):
        yield from _transformer_block(spec)
    if spec.projection != "none":
        yield _linear(spec.channels, spec.channels, tokens=spec.size**2)
    yield _sum(stream)


def _transformer_block(spec: TransformerSpec) -> Iterator[Operation]:
    tokens, stream = spec.size**2, spec.channels * spec.size**2
    if spec.self_attention or spec.norm_replaces_self_attention:
        yield _elementwise(stream)
    if spec.self_attention:
        yield from _attention(spec, kv_width=spec.channels, kv_length=tokens, is_cross=False)
        yield _sum(stream)
    if spec.cross_attention:
        yield _elementwise(stream)
        yield from _attention(spec, kv_width=spec.context_width, kv_length=spec.context_length, is_cross=True)
        yield _sum(stream)
    yield _elementwise(stream)
    yield from _feed_forward(spec)
    yield _sum(stream)


def _attention(spec: TransformerSpec, *, kv_width: int, kv_length: int, is_cross: bool) -> Iterator[Operation]:
    tokens, channels = spec.size**2, spec.channels
    kv_channels = spec.num_kv_heads * spec.head_dim
    yield _linear(channels, channels, tokens=tokens)
    for _ in ("keys", "values"):
        yield _linear(kv_width, kv_channels, tokens=kv_length)
    num_passes = (spec.qk_norm == "rms_norm") + (spec.rope and not is_cross)
    for _ in range(num_passes):
        yield _elementwise(channels * tokens)
        yield _elementwise(kv_channels * kv_length)
    num_scores = spec.num_heads * tokens * kv_length
    product = Operation(
        kind="attention",
        macs=tokens * kv_length * channels,
        num_activations=channels * tokens + kv_channels * kv_length + num_scores,
        num_launches=spec.num_kv_heads,
    )
    yield product  # queries and keys
    yield Operation(kind="attention", num_activations=2 * num_scores)  # softmax
    yield product  # weights and values
    yield _linear(channels, channels, tokens=tokens)


def _feed_forward(spec: TransformerSpec) -> Iterator[Operation]:
    tokens, hidden = spec.size**2, spec.hidden_channels
    match spec.feed_forward:
        case "geglu":
            yield _linear(spec.channels, 2 * hidden, tokens=tokens)
            yield _elementwise(hidden * tokens)  # GELU of the gate
            yield _sum(hidden * tokens)  # the product with the gate moves as much as a sum
        case "gelu":
            yield _linear(spec.channels, hidden, tokens=tokens)
            yield _elementwise(hidden * tokens)
        case _:
            assert_never(spec.feed_forward)
    yield _linear(hidden, spec.channels, tokens=tokens)


def _convolution(
    kind: ConvolutionKind, in_channels: int, out_channels: int, kernel: int, pixels_in: int, pixels_out: int
) -> Iterator[Operation]:
    match kind:
        case "full":
            yield _full_convolution(in_channels, out_channels, kernel, pixels_in, pixels_out)
        case "separable":
            yield Operation(
                kind="depthwise_convolution",
                macs=in_channels * kernel**2 * pixels_out,
                num_activations=in_channels * (pixels_in + pixels_out),
                num_weights=in_channels * kernel**2,
            )
            yield _linear(in_channels, out_channels, tokens=pixels_out)
        case _:
            assert_never(kind)


def _full_convolution(in_channels: int, out_channels: int, kernel: int, pixels_in: int, pixels_out: int) -> Operation:
    num_weights = in_channels * out_channels * kernel**2
    return Operation(
        kind="full_convolution",
        macs=num_weights * pixels_out,
        num_activations=in_channels * pixels_in + out_channels * pixels_out,
        num_weights=num_weights,
    )


def _linear(in_width: int, out_width: int, *, tokens: int) -> Operation:
    num_weights = in_width * out_width
    return Operation(
        kind="linear",
        macs=num_weights * tokens,
        num_activations=(in_width + out_width) * tokens,
        num_weights=num_weights,
    )


def _norm_and_activation(num_numbers: int) -> Iterator[Operation]:
    yield _elementwise(num_numbers)
    yield _elementwise(num_numbers)


def _elementwise(num_numbers: int) -> Operation:
    """Reads and writes as many numbers."""
    return Operation(kind="elementwise", num_activations=2 * num_numbers)


def _sum(num_numbers: int) -> Operation:
    """Reads two operands and writes one result."""
    return Operation(kind="elementwise", num_activations=3 * num_numbers)
