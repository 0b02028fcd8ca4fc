"""Small configurations of diffusers' UNets, random ones and likenesses of the published ones."""

import random
from typing import Any

import diffusers
from torch import nn

from search_space import references

STANDARD, DREAMLITE = "UNet2DConditionModel", "DreamLiteUNetModel"

_SMALL: dict[str, Any] = {"sample_size": 16, "cross_attention_dim": 24, "norm_num_groups": 8}
_SMALL_XL: dict[str, Any] = _SMALL | {
    "block_out_channels": [32, 64, 64],
    "attention_head_dim": [2, 4, 4],
    "addition_time_embed_dim": 8,
}

LIKENESSES: dict[str, dict[str, Any]] = {
    "sd15": _SMALL | {"block_out_channels": [32, 64, 64, 64], "attention_head_dim": 4},
    "sd21": _SMALL
    | {"block_out_channels": [32, 64, 64, 64], "attention_head_dim": [1, 2, 4, 4], "use_linear_projection": True},
    "sdxl": references._SDXL_CONFIG
    | _SMALL_XL
    | {"transformer_layers_per_block": [1, 2, 3], "projection_class_embeddings_input_dim": 48 + 20},
    "ssd1b": references._SDXL_CONFIG
    | _SMALL_XL
    | {
        "transformer_layers_per_block": [1, [2, 1], [1, 3]],
        "reverse_transformer_layers_per_block": [[1, 2, 3], [2, 1, 1], 1],
        "mid_block_type": "UNetMidBlock2D",
        "projection_class_embeddings_input_dim": 48 + 20,
    },
    "bk_sdm_tiny": references._BK_SDM_TINY_CONFIG
    | _SMALL
    | {"block_out_channels": [32, 64, 64], "attention_head_dim": 4},
    "dreamlite": references._DREAMLITE_CONFIG
    | _SMALL_XL
    | {"encoder_hid_dim": 20, "projection_class_embeddings_input_dim": 16},
}


def build(config: dict[str, Any]) -> nn.Module:
    """The network that diffusers builds from a `config.json`."""
    arguments = {name: value for name, value in config.items() if not name.startswith("_")}
    network: nn.Module = getattr(diffusers, config.get("_class_name", STANDARD))(**arguments)
    return network.eval()


def random_config(seed: int) -> dict[str, Any]:
    """A random configuration that both sides can express."""
    draw = random.Random(seed)
    num_stages = draw.choice([2, 3, 4])
    is_dreamlite = draw.random() < 0.4
    prefix = "DreamLite" if is_dreamlite else ""
    kinds = ["", "CrossAttn", "CrossAttnNoSelfAttn"] if is_dreamlite else ["", "CrossAttn"]
    residual_blocks = [draw.choice([1, 2, 3]) for _ in range(num_stages)]
    channels = sorted(draw.choice([32, 64, 96, 128]) for _ in range(num_stages))
    config: dict[str, Any] = {
        "_class_name": DREAMLITE if is_dreamlite else STANDARD,
        "sample_size": 16,
        "in_channels": draw.choice([4, 12, 16]),
        "out_channels": draw.choice([4, 8]),
        "block_out_channels": channels,
        "layers_per_block": residual_blocks,
        "down_block_types": [f"{prefix}{draw.choice(kinds)}DownBlock2D" for _ in range(num_stages)],
        "up_block_types": [f"{prefix}{draw.choice(kinds)}UpBlock2D" for _ in range(num_stages)],
        "transformer_layers_per_block": [[draw.choice([1, 2]) for _ in range(blocks)] for blocks in residual_blocks],
        "reverse_transformer_layers_per_block": [
            [draw.choice([1, 2, 3]) for _ in range(blocks + 1)] for blocks in reversed(residual_blocks)
        ],
        "attention_head_dim": [draw.choice([1, 2, 4, 8]) for _ in range(num_stages)],
        "cross_attention_dim": draw.choice([16, 24]),
        "norm_num_groups": draw.choice([4, 8, 16]),
        "use_linear_projection": draw.random() < 0.5,
        "time_embedding_dim": draw.choice([None, 64, 100]),
    }
    if draw.random() < 0.5:
        config |= {"encoder_hid_dim": 20, "encoder_hid_dim_type": "text_proj_rms" if is_dreamlite else "text_proj"}
    if draw.random() < 0.5:
        config |= {"addition_time_embed_dim": 8, "addition_embed_type": "time" if is_dreamlite else "text_time"}
        config["projection_class_embeddings_input_dim"] = 16 if is_dreamlite else 48 + 20
    if is_dreamlite:
        config |= {
            "qk_norm": draw.choice([None, "rms_norm"]),
            "use_sep_conv": draw.random() < 0.7,
            "ff_mult": draw.choice([2, 3, 6]),
            "num_kv_heads": 1,
        }
        config["mid_block_type"] = draw.choice([None, "DreamLiteUNetMidBlock2DCrossAttn"])
    else:
        config["mid_block_type"] = draw.choice([None, "UNetMidBlock2D", "UNetMidBlock2DCrossAttn"])
    return config
