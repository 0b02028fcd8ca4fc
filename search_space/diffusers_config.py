"""Translates between `ArchConfig` and the `config.json` of diffusers' UNets.

`from_diffusers_config` reads any `UNet2DConditionModel` or `DreamLiteUNetModel` whose features can be expressed and
refuses anything else by the name of the field: a network that is nearly right is worse than none. Neither diffusers nor
torch is imported.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search_space.arch import (
    AddedConditioning,
    ArchConfig,
    AttentionConfig,
    ContextProjection,
    ConvolutionConfig,
    ConvolutionKind,
    FeedForwardConfig,
    PathConfig,
    StageConfig,
    canonical,
)
from search_space.arch_json import arch_from_json
from search_space.errors import UsageError

OWN_CLASS = "SnapNASUNet"
"""`_class_name` of a network that diffusers cannot express; its config holds our own JSON under `arch`."""

STANDARD_CLASS, DREAMLITE_CLASS = "UNet2DConditionModel", "DreamLiteUNetModel"

_ONLY_VALUES: dict[str, tuple[Any, ...]] = {
    "center_input_sample": (False,),
    "flip_sin_to_cos": (True,),
    "freq_shift": (0,),
    "only_cross_attention": (False, None),
    "downsample_padding": (1,),
    "mid_block_scale_factor": (1,),
    "dropout": (0,),
    "act_fn": ("silu", "swish"),
    "norm_eps": (1e-5,),
    "dual_cross_attention": (False,),
    "class_embed_type": (None,),
    "num_class_embeds": (None,),
    "resnet_time_scale_shift": ("default",),
    "resnet_skip_time_act": (False,),
    "resnet_out_scale_factor": (1,),
    "time_embedding_type": ("positional",),
    "time_embedding_act_fn": (None,),
    "timestep_post_act": (None,),
    "time_cond_proj_dim": (None,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "attention_type": ("default",),
    "class_embeddings_concat": (False,),
    "mid_block_only_cross_attention": (False, None),
    "cross_attention_norm": (None,),
    "num_attention_heads": (None,),
}
"""Fields that an `ArchConfig` cannot vary, with the values it stands for."""

_STANDARD_DEFAULTS: dict[str, Any] = {
    "sample_size": None,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "cross_attention_dim": 1280,
    "transformer_layers_per_block": 1,
    "reverse_transformer_layers_per_block": None,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "attention_head_dim": 8,
    "use_linear_projection": False,
    "addition_embed_type": None,
    "addition_time_embed_dim": None,
    "projection_class_embeddings_input_dim": None,
    "time_embedding_dim": None,
    "qk_norm": None,
    "use_sep_conv": False,
    "ff_mult": 4,
    "num_kv_heads": None,
    "num_mid_layers": 1,
}

_DREAMLITE_DEFAULTS: dict[str, Any] = _STANDARD_DEFAULTS | {
    "down_block_types": ["DreamLiteCrossAttnNoSelfAttnDownBlock2D"] * 2 + ["DreamLiteCrossAttnDownBlock2D"],
    "mid_block_type": "DreamLiteUNetMidBlock2DCrossAttn",
    "up_block_types": [
        "DreamLiteCrossAttnUpBlock2D",
        "DreamLiteCrossAttnNoSelfAttnUpBlock2D",
        "DreamLiteUpBlock2D",
    ],
    "block_out_channels": [320, 640, 1280],
    "cross_attention_dim": 2048,
    "attention_head_dim": 64,
    "qk_norm": "rms_norm",
    "use_sep_conv": True,
    "ff_mult": 6,
    "num_kv_heads": 1,
}

_DREAMLITE_ONLY = ("qk_norm", "use_sep_conv", "ff_mult", "num_kv_heads", "num_mid_layers")

_WITHOUT_EFFECT = ("addition_embed_type_num_heads", "upcast_attention")
"""Fields that change neither weights nor, in float32, the outputs of an expressible network."""

_BLOCK_ATTENTION: dict[str, tuple[bool, bool]] = {
    "DownBlock2D": (False, False),
    "UpBlock2D": (False, False),
    "CrossAttnDownBlock2D": (True, True),
    "CrossAttnUpBlock2D": (True, True),
    "DreamLiteDownBlock2D": (False, False),
    "DreamLiteUpBlock2D": (False, False),
    "DreamLiteCrossAttnDownBlock2D": (True, True),
    "DreamLiteCrossAttnUpBlock2D": (True, True),
    "DreamLiteCrossAttnNoSelfAttnDownBlock2D": (False, True),
    "DreamLiteCrossAttnNoSelfAttnUpBlock2D": (False, True),
}
"""Block type -> (has self-attention, has cross-attention)."""


def from_diffusers_config(config: Mapping[str, Any]) -> ArchConfig:
    """The architecture of a diffusers `config.json`, in canonical form.

    Args:
        config: The parsed JSON of a `UNet2DConditionModel`, a `DreamLiteUNetModel`, or a folder SnapNAS exported.

    Raises:
        UsageError: A field has a value that no `ArchConfig` expresses, or a type it must not have.
    """
    class_name = config.get("_class_name", STANDARD_CLASS)
    if class_name == OWN_CLASS:
        return arch_from_json(json.dumps(config.get("arch")))
    if class_name not in (STANDARD_CLASS, DREAMLITE_CLASS):
        allowed = f"{STANDARD_CLASS}, {DREAMLITE_CLASS}, {OWN_CLASS}"
        raise UsageError(f"diffusers config field _class_name is {class_name!r}", allowed=allowed)
    is_dreamlite = class_name == DREAMLITE_CLASS
    _refuse_unknown(config, is_dreamlite=is_dreamlite)
    fields = (_DREAMLITE_DEFAULTS if is_dreamlite else _STANDARD_DEFAULTS) | {
        name: value for name, value in config.items() if not name.startswith("_")
    }
    try:
        arch = canonical(_translate(fields, is_dreamlite=is_dreamlite))
    except UsageError:
        raise
    except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
        raise UsageError(f"diffusers config has a field of the wrong type: {error}") from None
    return arch_from_json(arch.to_json())  # whose strict schema finds the values of a wrong type that remain


def read_diffusers_config(path: Path) -> ArchConfig:
    """The architecture of a `config.json` on disk.

    Raises:
        UsageError: The file cannot be read, is not JSON, or `from_diffusers_config` refuses it.
    """
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read {path} as JSON: {error}") from None
    if not isinstance(config, dict):
        raise UsageError(f"{path} holds a {type(config).__name__}", allowed="the JSON object of a diffusers config")
    return from_diffusers_config(config)


def _refuse_unknown(config: Mapping[str, Any], *, is_dreamlite: bool) -> None:
    for name, value in config.items():
        if name.startswith("_") or name in _WITHOUT_EFFECT:
            continue
        if name in _ONLY_VALUES:
            per_stage = value if isinstance(value, list | tuple) and value else [value]
            if any(item not in _ONLY_VALUES[name] for item in per_stage):
                raise _inexpressible(name, value, " or ".join(str(item) for item in _ONLY_VALUES[name]))
        elif name not in _STANDARD_DEFAULTS or (name in _DREAMLITE_ONLY and not is_dreamlite):
            raise _inexpressible(name, value, "no such field")


def _translate(fields: Mapping[str, Any], *, is_dreamlite: bool) -> ArchConfig:
    channels = tuple(fields["block_out_channels"])
    num_stages = len(channels)
    residual_blocks = _per_stage("layers_per_block", fields, num_stages)
    heads = _per_stage("attention_head_dim", fields, num_stages)  # diffusers#2011: the number of heads, not their width
    down_depths = _per_stage("transformer_layers_per_block", fields, num_stages)
    up_depths = tuple(reversed(down_depths))
    if fields["reverse_transformer_layers_per_block"] is not None:
        up_depths = _per_stage("reverse_transformer_layers_per_block", fields, num_stages)

    def stage(index: int) -> StageConfig:
        up_index = num_stages - 1 - index
        num_heads = _head_count(heads[index], channels[index])
        return StageConfig(
            channels=channels[index],
            down=_path("down_block_types", fields, index, down_depths[index], residual_blocks[index]),
            up=_path("up_block_types", fields, up_index, up_depths[up_index], residual_blocks[index] + 1),
            convolution=_convolution(fields),
            attention=AttentionConfig(
                head_dim=channels[index] // num_heads,
                num_kv_heads=_default(fields["num_kv_heads"], num_heads),
                qk_norm=_default(fields["qk_norm"], "none"),
            ),
            feed_forward=FeedForwardConfig(expansion=fields["ff_mult"]),
            norm_replaces_self_attention=is_dreamlite,
        )

    return ArchConfig(
        stages=tuple(stage(index) for index in range(num_stages)),
        mid=_mid(fields, down_depths[-1]),
        projection="linear" if fields["use_linear_projection"] else "conv",
        time_embedding_width=_default(fields["time_embedding_dim"], 4 * channels[0]),
        added_conditioning=_added_conditioning(fields),
        context_projection=_context_projection(fields),
        context_width=_single("cross_attention_dim", fields),
        norm_groups=fields["norm_num_groups"],
        in_channels=fields["in_channels"],
        out_channels=fields["out_channels"],
        sample_size=_default(fields["sample_size"], 64),
    )


def _path(
    types_field: str, fields: Mapping[str, Any], index: int, depth: int | list[int], num_residual_blocks: int
) -> PathConfig:
    block_type = fields[types_field][index]
    if block_type not in _BLOCK_ATTENTION:
        raise _inexpressible(types_field, block_type, ", ".join(_BLOCK_ATTENTION))
    self_attention, cross_attention = _BLOCK_ATTENTION[block_type]
    if not cross_attention:
        return PathConfig(transformer_depths=(0,) * num_residual_blocks)
    depths = (depth,) * num_residual_blocks if isinstance(depth, int) else tuple(depth)
    if len(depths) != num_residual_blocks or 0 in depths:
        allowed = f"{num_residual_blocks} depths of at least 1 for the {block_type}"
        raise _inexpressible("transformer_layers_per_block", depth, allowed)
    return PathConfig(transformer_depths=depths, self_attention=self_attention, cross_attention=cross_attention)


def _mid(fields: Mapping[str, Any], depth: int | list[int]) -> PathConfig:
    match fields["mid_block_type"]:
        case None:
            return PathConfig(transformer_depths=())
        case "UNetMidBlock2D":
            return PathConfig(transformer_depths=(0,))
        case "UNetMidBlock2DCrossAttn" | "DreamLiteUNetMidBlock2DCrossAttn":
            num_transformers = fields["num_mid_layers"]
            depths = (depth,) * num_transformers if isinstance(depth, int) else tuple(depth)[:num_transformers]
            return PathConfig(transformer_depths=(*depths, 0), self_attention=True, cross_attention=True)
        case other:
            allowed = "UNetMidBlock2DCrossAttn, UNetMidBlock2D, DreamLiteUNetMidBlock2DCrossAttn, null"
            raise _inexpressible("mid_block_type", other, allowed)


def _convolution(fields: Mapping[str, Any]) -> ConvolutionConfig:
    kind: ConvolutionKind = "separable" if fields["use_sep_conv"] else "full"
    return ConvolutionConfig(kind=kind, expansion=2 if kind == "separable" else 1)


def _added_conditioning(fields: Mapping[str, Any]) -> AddedConditioning | None:
    kind, width = fields["addition_embed_type"], fields["addition_time_embed_dim"]
    in_width = fields["projection_class_embeddings_input_dim"]
    match kind:
        case None:
            return None
        case "text_time":  # SDXL: the pooled text and six numbers
            return AddedConditioning(pooled_text_width=in_width - 6 * width, num_size_ids=6, size_id_width=width)
        case "time":
            return AddedConditioning(pooled_text_width=0, num_size_ids=in_width // width, size_id_width=width)
        case other:
            raise _inexpressible("addition_embed_type", other, "null, text_time, time")


def _context_projection(fields: Mapping[str, Any]) -> ContextProjection | None:
    kind, in_width = fields["encoder_hid_dim_type"], fields["encoder_hid_dim"]
    if in_width is None:
        return None
    match kind:
        case None | "text_proj":
            return ContextProjection(in_width=in_width)
        case "text_proj_rms":
            return ContextProjection(in_width=in_width, norm="rms_norm")
        case other:
            raise _inexpressible("encoder_hid_dim_type", other, "null, text_proj, text_proj_rms")


def _per_stage(name: str, fields: Mapping[str, Any], num_stages: int) -> tuple[Any, ...]:
    value = fields[name]
    values = tuple(value) if isinstance(value, list | tuple) else (value,) * num_stages
    if len(values) != num_stages:
        raise _inexpressible(name, value, f"one number, or one for each of the {num_stages} stages")
    return values


def _single(name: str, fields: Mapping[str, Any]) -> Any:
    value = fields[name]
    distinct = set(value) if isinstance(value, list | tuple) else {value}
    if len(distinct) != 1:
        raise _inexpressible(name, value, "the same number in every stage")
    return distinct.pop()


def _default(value: Any, default: Any) -> Any:
    return default if value is None else value


def _head_count(num_heads: int, channels: int) -> int:
    if num_heads <= 0 or channels % num_heads:
        raise _inexpressible("attention_head_dim", num_heads, f"a divisor of the stage's {channels} channels")
    return num_heads


def _inexpressible(name: str, value: object, allowed: str) -> UsageError:
    return UsageError(f"diffusers config field {name} is {value!r}, which SnapNAS cannot express", allowed=allowed)


def to_diffusers_config(arch: ArchConfig) -> dict[str, Any] | None:
    """The `config.json` with which diffusers builds exactly this network; None where there is none."""
    arch = canonical(arch)
    for candidate in (_standard_config, _dreamlite_config):
        config = candidate(arch)
        if _reads_back(config, arch):
            return config
    return None


def _reads_back(config: Mapping[str, Any], arch: ArchConfig) -> bool:
    """Whether diffusers' reading of a config is the architecture; cost-only fields it does not know are set aside."""
    try:
        read = from_diffusers_config(config)
    except UsageError:
        return False
    return dataclasses.replace(read, context_length=arch.context_length) == arch


def _standard_config(arch: ArchConfig) -> dict[str, Any]:
    return _common_config(arch) | {
        "_class_name": STANDARD_CLASS,
        "down_block_types": [_standard_type(stage.down, "Down") for stage in arch.stages],
        "up_block_types": [_standard_type(stage.up, "Up") for stage in reversed(arch.stages)],
        "mid_block_type": _mid_type(arch, "UNetMidBlock2DCrossAttn"),
    }


def _dreamlite_config(arch: ArchConfig) -> dict[str, Any]:
    last = arch.mid_stage
    return _common_config(arch) | {
        "_class_name": DREAMLITE_CLASS,
        "down_block_types": [_dreamlite_type(stage.down, "Down") for stage in arch.stages],
        "up_block_types": [_dreamlite_type(stage.up, "Up") for stage in reversed(arch.stages)],
        "mid_block_type": _mid_type(arch, "DreamLiteUNetMidBlock2DCrossAttn"),
        "num_mid_layers": max(len(arch.mid.transformer_depths) - 1, 1),
        "qk_norm": None if last.attention.qk_norm == "none" else last.attention.qk_norm,
        "use_sep_conv": last.convolution.kind == "separable",
        "ff_mult": last.feed_forward.expansion,
        "num_kv_heads": last.attention.num_kv_heads,
    }


def _common_config(arch: ArchConfig) -> dict[str, Any]:
    added, projection = arch.added_conditioning, arch.context_projection
    config: dict[str, Any] = {
        "sample_size": arch.sample_size,
        "in_channels": arch.in_channels,
        "out_channels": arch.out_channels,
        "block_out_channels": [stage.channels for stage in arch.stages],
        "layers_per_block": [len(stage.down.transformer_depths) for stage in arch.stages],
        "transformer_layers_per_block": [_down_depths(arch, stage) for stage in arch.stages],
        "reverse_transformer_layers_per_block": [list(s.up.transformer_depths) for s in reversed(arch.stages)],
        "attention_head_dim": [stage.num_heads for stage in arch.stages],
        "cross_attention_dim": arch.context_width,
        "norm_num_groups": arch.norm_groups,
        "time_embedding_dim": arch.time_embedding_width,
        "use_linear_projection": arch.projection == "linear",
    }
    if added is not None:
        config |= {
            "addition_embed_type": "text_time" if added.pooled_text_width else "time",
            "addition_time_embed_dim": added.size_id_width,
            "projection_class_embeddings_input_dim": added.pooled_text_width + added.num_size_ids * added.size_id_width,
        }
    if projection is not None:
        config |= {
            "encoder_hid_dim": projection.in_width,
            "encoder_hid_dim_type": "text_proj_rms" if projection.norm == "rms_norm" else "text_proj",
        }
    return config


def _down_depths(arch: ArchConfig, stage: StageConfig) -> list[int]:
    """Depths of a stage's transformers on the way down; where it has none, diffusers reads the middle's from there."""
    path = stage.down if stage.down.has_transformer else arch.mid
    return list(path.transformer_depths)


def _standard_type(path: PathConfig, way: str) -> str:
    return f"CrossAttn{way}Block2D" if path.has_transformer else f"{way}Block2D"


def _dreamlite_type(path: PathConfig, way: str) -> str:
    if not path.has_transformer:
        return f"DreamLite{way}Block2D"
    return f"DreamLiteCrossAttn{way}Block2D" if path.self_attention else f"DreamLiteCrossAttnNoSelfAttn{way}Block2D"


def _mid_type(arch: ArchConfig, with_attention: str) -> str | None:
    if not arch.mid.transformer_depths:
        return None
    return with_attention if arch.mid.has_transformer else "UNetMidBlock2D"
