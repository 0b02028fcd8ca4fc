"""What an architecture is: `ArchConfig`, a frozen description of one text-to-image UNet.

The network is a UNet of *stages*, each at half the resolution of the one before. Every stage has a way down and a way
up, and each way is a list of residual blocks, each followed by a transformer of some depth (0: none). The middle is one
more such list at the lowest resolution. That is enough to say exactly what SD 1.x, SD 2.x, SDXL, SSD-1B, BK-SDM,
DreamLite and SnapGen are.

Two configs can describe the same network (a head dimension where no attention stands, say). `canonical` gives every
such pair the same config, and `arch_id` names the network by the hash of that. This file imports no torch.
"""

import dataclasses
import functools
import hashlib
import json
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from search_space.errors import UsageError

SCHEMA_VERSION = 1

ConvolutionKind = Literal["full", "separable"]
HiddenWidth = Literal["out", "max", "in"]
FeedForwardKind = Literal["geglu", "gelu"]
ProjectionKind = Literal["conv", "linear", "none"]
QKNorm = Literal["none", "rms_norm"]

_STRICT = {"extra": "forbid", "strict": True}


@dataclass(frozen=True, kw_only=True)
class ConvolutionConfig:
    """The two convolutions of every residual block of a stage."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    kind: ConvolutionKind = "full"
    """`full`, or `separable`: a depthwise convolution followed by a pointwise one, without biases."""
    kernel: int = 3
    """Side of the (depthwise) kernel: 3, 5 or 7."""
    expansion: int = 1
    """Channels between the two convolutions, as a multiple of `hidden_width`. Full convolutions have 1."""
    hidden_width: HiddenWidth = "out"
    """What `expansion` multiplies: the block's output channels, its input channels, or the larger of the two."""

    def __post_init__(self) -> None:
        _require(self.kernel in (3, 5, 7), "convolution.kernel", self.kernel, "3, 5 or 7")
        _require(1 <= self.expansion <= 3, "convolution.expansion", self.expansion, "1 to 3")
        if self.kind == "full":
            _require(self.expansion == 1, "convolution.expansion", self.expansion, "1 for full convolutions")
            _require(self.hidden_width == "out", "convolution.hidden_width", self.hidden_width, "'out' for full")

    def hidden_channels(self, in_channels: int, out_channels: int) -> int:
        """Channels between the two convolutions of a block that turns `in_channels` into `out_channels`."""
        widths = {"out": out_channels, "in": in_channels, "max": max(in_channels, out_channels)}
        return self.expansion * widths[self.hidden_width]


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """Every attention of a stage, self- and cross- alike."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    head_dim: int
    """Channels of one head; divides the stage's channels."""
    num_kv_heads: int
    """Heads of keys and values: as many as query heads is MHSA, 1 is MQA, a divisor between is GQA."""
    qk_norm: QKNorm = "none"
    """Whether queries and keys pass an RMSNorm over the head dimension."""
    rope: bool = False
    """Whether self-attention rotates queries and keys by their row and column (2-D RoPE)."""


@dataclass(frozen=True, kw_only=True)
class FeedForwardConfig:
    """The feed-forward layer of every transformer block of a stage."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    kind: FeedForwardKind = "geglu"
    """Gated (`geglu`: two linear maps in, one gates the other) or plain (`gelu`)."""
    expansion: int = 4
    """Hidden channels as a multiple of the stage's channels."""

    def __post_init__(self) -> None:
        _require(1 <= self.expansion <= 8, "feed_forward.expansion", self.expansion, "1 to 8")


@dataclass(frozen=True, kw_only=True)
class PathConfig:
    """One way through a stage (down, up) or the middle: residual blocks, each followed by a transformer."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    transformer_depths: tuple[int, ...]
    """Transformer blocks after each residual block (0: none); its length is the number of residual blocks."""
    self_attention: bool = False
    """Whether these transformer blocks have self-attention."""
    cross_attention: bool = False
    """Whether these transformer blocks attend to the text."""

    def __post_init__(self) -> None:
        _require(
            all(0 <= depth <= 32 for depth in self.transformer_depths),
            "transformer_depths",
            self.transformer_depths,
            "0 to 32 after each residual block",
        )

    @property
    def has_transformer(self) -> bool:
        return any(self.transformer_depths)


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One resolution of the UNet."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    channels: int
    """Width of the residual stream."""
    down: PathConfig
    """The way down."""
    up: PathConfig
    """The way up."""
    convolution: ConvolutionConfig
    """Convolutions of its residual blocks."""
    attention: AttentionConfig
    """Attention of its transformer blocks."""
    feed_forward: FeedForwardConfig
    """Feed-forward layers of its transformer blocks."""
    norm_replaces_self_attention: bool = False
    """Whether its transformer blocks without self-attention still normalise their residual stream, as DreamLite's."""

    def __post_init__(self) -> None:
        head_dim, num_kv_heads = self.attention.head_dim, self.attention.num_kv_heads
        _require(
            head_dim > 0 and self.channels % head_dim == 0,
            "attention.head_dim",
            head_dim,
            f"a divisor of the stage's {self.channels} channels",
        )
        _require(
            num_kv_heads > 0 and self.num_heads % num_kv_heads == 0,
            "attention.num_kv_heads",
            num_kv_heads,
            f"a divisor of the stage's {self.num_heads} heads",
        )
        _require(
            not self.attention.rope or head_dim % 4 == 0, "attention.head_dim", head_dim, "a multiple of 4 for RoPE"
        )
        _require(len(self.down.transformer_depths) > 0, "down.transformer_depths", "()", "at least one residual block")
        _require(len(self.up.transformer_depths) > 0, "up.transformer_depths", "()", "at least one residual block")

    @property
    def num_heads(self) -> int:
        """Query heads of its attention."""
        return self.channels // self.attention.head_dim


@dataclass(frozen=True, kw_only=True)
class AddedConditioning:
    """A vector that joins the time embedding: pooled text and sinusoidally embedded size ids, as in SDXL."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    pooled_text_width: int
    """Width of the pooled text embedding; 0: none (DreamLite)."""
    num_size_ids: int
    """How many numbers (original size, crop, target size) are embedded."""
    size_id_width: int
    """Sinusoids for each of them."""

    def __post_init__(self) -> None:
        _require(
            self.pooled_text_width >= 0, "added_conditioning.pooled_text_width", self.pooled_text_width, "0 or more"
        )
        _require(self.num_size_ids > 0, "added_conditioning.num_size_ids", self.num_size_ids, "a positive number")
        _require(
            self.size_id_width > 0 and self.size_id_width % 2 == 0,
            "added_conditioning.size_id_width",
            self.size_id_width,
            "a positive even number, for sines and cosines",
        )


@dataclass(frozen=True, kw_only=True)
class ContextProjection:
    """A linear map from the text encoder's width to the context width, ahead of every cross-attention."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    in_width: int
    """Width of the text encoder's tokens."""
    norm: QKNorm = "none"
    """Whether an RMSNorm follows (DreamLite)."""

    def __post_init__(self) -> None:
        _require(self.in_width > 0, "context_projection.in_width", self.in_width, "a positive number")


@dataclass(frozen=True, kw_only=True)
class ArchConfig:
    """One text-to-image UNet, completely."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    stages: tuple[StageConfig, ...]
    """From the highest resolution to the lowest."""
    mid: PathConfig
    """The middle, at the lowest resolution, with the last stage's convolution, attention and feed-forward layers."""
    downsampler: ConvolutionKind = "full"
    """The stride-2 convolution between two stages on the way down."""
    upsampler: ConvolutionKind = "full"
    """The convolution after nearest-neighbour upsampling between two stages on the way up."""
    projection: ProjectionKind = "conv"
    """How pixels enter and leave a transformer: GroupNorm and 1x1 convolutions, linear maps, or nothing at all."""
    time_embedding_width: int
    """Width of the time embedding."""
    added_conditioning: AddedConditioning | None = None
    """What joins the time embedding."""
    context_projection: ContextProjection | None = None
    """What the text passes before any cross-attention."""
    context_width: int
    """Channels of a text token at the cross-attentions."""
    context_length: int = 77
    """Text tokens. Decides cost, not weights."""
    norm_groups: int = 32
    """Groups of every GroupNorm."""
    in_channels: int = 4
    """Latent channels in."""
    out_channels: int = 4
    """Latent channels out."""
    sample_size: int = 64
    """Side of the latent. Decides cost, not weights."""
    schema_version: int = SCHEMA_VERSION
    """Version of this schema."""

    def __post_init__(self) -> None:
        _require(
            self.schema_version == SCHEMA_VERSION,
            "schema_version",
            self.schema_version,
            f"{SCHEMA_VERSION}, the version this SnapNAS reads",
        )
        _require(len(self.stages) >= 1, "stages", "()", "at least one stage")
        halvings = 2 ** (len(self.stages) - 1)
        _require(
            self.sample_size > 0 and self.sample_size % halvings == 0,
            "sample_size",
            self.sample_size,
            f"a multiple of {halvings}, to be halved between {len(self.stages)} stages",
        )
        for name in ("in_channels", "out_channels", "time_embedding_width", "context_width", "context_length"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "a positive number")
        for stage in self.stages:
            _require(
                self.norm_groups > 0 and stage.channels % self.norm_groups == 0,
                "channels",
                stage.channels,
                f"a multiple of norm_groups={self.norm_groups}",
            )
        channels = self.stages[0].channels
        _require(channels % 2 == 0, "stages.0.channels", channels, "even, for the sines and cosines of the timestep")

    @property
    def mid_stage(self) -> StageConfig:
        """The stage whose convolution, attention and feed-forward layers the middle shares."""
        return self.stages[-1]

    def size_at(self, stage_index: int) -> int:
        """Side of the feature map at a stage."""
        return self.sample_size >> stage_index

    def to_json(self, *, indent: int | None = None) -> str:
        """Every field, keys sorted; without `indent` on one line, byte for byte the same for equal configs."""
        separators = (",", ":") if indent is None else None
        return json.dumps(dataclasses.asdict(self), sort_keys=True, indent=indent, separators=separators)

    @functools.cached_property
    def arch_id(self) -> str:
        """The network's name: 12 hex digits of the sha256 of its canonical JSON."""
        return hashlib.sha256(canonical(self).to_json().encode()).hexdigest()[:12]


def canonical(arch: ArchConfig) -> ArchConfig:
    """The one config that stands for every config of the same network: choices that decide nothing get a fixed value.

    Two architectures have equal `arch_id` exactly when `walk` gives them the same blocks in the same places.
    """
    last = len(arch.stages) - 1
    mid = _canonical_path(arch.mid)
    stages = tuple(
        _canonical_stage(arch, index, mid_path=mid if index == last else None) for index in range(len(arch.stages))
    )
    paths = [mid, *(path for stage in stages for path in (stage.down, stage.up))]
    with_transformer = [path for path in paths if path.has_transformer]
    has_context = arch.context_projection is not None or any(path.cross_attention for path in with_transformer)
    return dataclasses.replace(
        arch,
        stages=stages,
        mid=mid,
        projection=arch.projection if with_transformer else "conv",
        context_width=arch.context_width if has_context else 1,
        context_length=arch.context_length if has_context else 1,
        downsampler=arch.downsampler if last > 0 else "full",
        upsampler=arch.upsampler if last > 0 else "full",
    )


def _canonical_path(path: PathConfig) -> PathConfig:
    return path if path.has_transformer else PathConfig(transformer_depths=path.transformer_depths)


def _canonical_stage(arch: ArchConfig, index: int, *, mid_path: PathConfig | None) -> StageConfig:
    stage = arch.stages[index]
    down, up = _canonical_path(stage.down), _canonical_path(stage.up)
    paths = [path for path in (down, up, mid_path) if path is not None and path.has_transformer]
    attends_itself = any(path.self_attention for path in paths)
    lacks_self_attention = any(not path.self_attention for path in paths)
    attends = attends_itself or any(path.cross_attention for path in paths)
    attention = AttentionConfig(head_dim=stage.channels, num_kv_heads=1)
    if attends:
        attention = dataclasses.replace(stage.attention, rope=stage.attention.rope and attends_itself)
    return dataclasses.replace(
        stage,
        down=down,
        up=up,
        convolution=_canonical_convolution(arch, index),
        attention=attention,
        feed_forward=stage.feed_forward if paths else FeedForwardConfig(),
        norm_replaces_self_attention=stage.norm_replaces_self_attention and lacks_self_attention,
    )


def _canonical_convolution(arch: ArchConfig, index: int) -> ConvolutionConfig:
    """The first convolution, by `hidden_width` and `expansion`, that gives the same hidden channels everywhere."""
    convolution = arch.stages[index].convolution
    if convolution.kind == "full":
        return convolution
    widths = residual_widths(arch, index)
    hidden_channels = [convolution.hidden_channels(*pair) for pair in widths]
    candidates = (
        dataclasses.replace(convolution, hidden_width=width, expansion=expansion)
        for width in ("out", "max", "in")
        for expansion in (1, 2, 3)
    )
    return next(
        candidate
        for candidate in candidates
        if all(candidate.hidden_channels(*pair) == hidden for pair, hidden in zip(widths, hidden_channels, strict=True))
    )


def residual_widths(arch: ArchConfig, stage_index: int) -> list[tuple[int, int]]:
    """`(in_channels, out_channels)` of every residual block with this stage's convolution, the middle's included."""
    first, last = stage_index == 0, stage_index == len(arch.stages) - 1
    channels = [stage.channels for stage in arch.stages]
    width = channels[stage_index]
    below = width if last else channels[stage_index + 1]
    skips = [channels[max(stage_index - 1, 0)]] + [width] * len(arch.stages[stage_index].down.transformer_depths)
    entering = width if first else channels[stage_index - 1]
    widths = [(entering, width)] + [(width, width)] * (len(arch.stages[stage_index].down.transformer_depths) - 1)
    if last:
        widths += [(width, width)] * len(arch.mid.transformer_depths)
    for block_index in range(len(arch.stages[stage_index].up.transformer_depths)):
        widths.append(((width if block_index else below) + (skips.pop() if skips else 0), width))
    return widths


def _require(holds: bool, field: str, given: object, allowed: str) -> None:
    if not holds:
        raise UsageError(f"architecture field {field} is {given!r}", allowed=allowed)
