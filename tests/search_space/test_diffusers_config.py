"""Our networks are diffusers' networks: parameter for parameter, name for name, number for number."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search_space.counts import count
from search_space.diffusers_config import OWN_CLASS, from_diffusers_config, to_diffusers_config
from search_space.errors import UsageError
from search_space.references import REFERENCES, snapgen_t2i
from search_space.unet import UNet
from tests.search_space.diffusers_networks import DREAMLITE, LIKENESSES, STANDARD, build, random_config

PUBLISHED_NUM_PARAMS = {
    "sd15": 859_520_964,
    "sd21": 865_910_724,
    "sdxl": 2_567_463_684,
    "ssd1b": 1_331_334_404,
    "bk_sdm_base": 579_384_964,
    "bk_sdm_small": 482_346_884,
    "bk_sdm_tiny": 323_384_964,
    "dreamlite": 389_968_388,
}


def shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: parameter.shape for name, parameter in network.state_dict().items()}


@pytest.mark.parametrize("name", PUBLISHED_NUM_PARAMS)
def test_published_networks_have_the_parameters_of_diffusers_name_for_name(name: str) -> None:
    arch = REFERENCES[name]()
    config = to_diffusers_config(arch)
    assert config is not None
    with torch.device("meta"):
        theirs, ours = build(config), UNet(arch)
    assert shapes(ours) == shapes(theirs)
    assert sum(p.numel() for p in theirs.parameters()) == count(arch).num_params == PUBLISHED_NUM_PARAMS[name]


@pytest.mark.parametrize("seed", range(30))
def test_random_configs_have_the_parameters_of_diffusers_name_for_name(seed: int) -> None:
    config = random_config(seed)
    arch = from_diffusers_config(config)
    with torch.device("meta"):
        theirs, ours = build(config), UNet(arch)
    assert shapes(ours) == shapes(theirs)
    assert sum(p.numel() for p in theirs.parameters()) == count(arch).num_params


@pytest.mark.parametrize("config", [*LIKENESSES.values(), *map(random_config, range(12))])
def test_loaded_weights_give_the_outputs_of_diffusers(config: dict[str, Any]) -> None:
    torch.manual_seed(0)
    theirs = build(config)
    arch = from_diffusers_config(config)
    ours = UNet(arch).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)

    sample = torch.randn(2, arch.in_channels, 16, 16)
    timestep = torch.tensor([3.0, 700.5])
    context = torch.randn(2, 7, config.get("encoder_hid_dim") or config["cross_attention_dim"])
    added = added_conditioning(config)
    with torch.no_grad():
        expected = theirs(sample, timestep, context, added_cond_kwargs=added).sample
        found = ours(sample, timestep, context, added.get("time_ids"), added.get("text_embeds"))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def added_conditioning(config: dict[str, Any]) -> dict[str, Tensor]:
    match config.get("addition_embed_type"):
        case "text_time":
            return {"text_embeds": torch.randn(2, 20), "time_ids": torch.randint(0, 100, (2, 6)).float()}
        case "time":
            return {"time_ids": torch.randint(0, 100, (2, 2)).float()}
        case _:
            return {}


@pytest.mark.parametrize("config", [*LIKENESSES.values(), *map(random_config, range(30))])
def test_config_survives_the_way_to_diffusers_and_back(config: dict[str, Any]) -> None:
    arch = from_diffusers_config(config)
    written = to_diffusers_config(arch)
    assert written is not None
    assert from_diffusers_config(json.loads(json.dumps(written))) == arch
    with torch.device("meta"):
        assert shapes(build(written)) == shapes(build(config))


def test_snapgen_cannot_be_said_in_diffusers_words() -> None:
    assert to_diffusers_config(snapgen_t2i()) is None


def test_own_config_is_read_back() -> None:
    arch = snapgen_t2i()
    assert from_diffusers_config({"_class_name": OWN_CLASS, "arch": json.loads(arch.to_json())}) == arch


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("_class_name", "FluxTransformer2DModel"),
        ("act_fn", "gelu"),
        ("only_cross_attention", [True, False]),
        ("class_embed_type", "timestep"),
        ("num_class_embeds", 10),
        ("resnet_time_scale_shift", "scale_shift"),
        ("time_embedding_type", "fourier"),
        ("conv_in_kernel", 7),
        ("norm_eps", 1e-6),
        ("encoder_hid_dim_type", "image_proj"),
        ("addition_embed_type", "image"),
        ("mid_block_type", "UNetMidBlock2DSimpleCrossAttn"),
        ("down_block_types", ["AttnDownBlock2D", "DownBlock2D"]),
        ("transformer_layers_per_block", [0, 1]),
        ("cross_attention_dim", [16, 32]),
        ("attention_head_dim", 7),
        ("num_kv_heads", 1),
        ("a_field_of_tomorrow", 1),
        ("dropout", 0.1),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_name(field: str, value: object) -> None:
    config: dict[str, Any] = {
        "block_out_channels": [32, 64],
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "encoder_hid_dim": 8 if field == "encoder_hid_dim_type" else None,
    }
    with pytest.raises(UsageError, match=field) as refusal:
        from_diffusers_config(config | {field: value})
    assert len(str(refusal.value).splitlines()) <= 3


@pytest.mark.parametrize("value", ["wide", None, [["a"]], {}, 3.5, -1])
def test_values_of_the_wrong_type_are_refused_in_three_lines(value: object) -> None:
    for field in ("block_out_channels", "layers_per_block", "cross_attention_dim", "sample_size", "norm_num_groups"):
        if (field, value) == ("sample_size", None):
            continue
        with pytest.raises(UsageError) as refusal:
            from_diffusers_config({field: value})
        assert len(str(refusal.value).splitlines()) <= 3


@pytest.mark.parametrize("name", ["sd15", "dreamlite"])
def test_a_folder_saved_by_diffusers_loads(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = build(LIKENESSES[name])
    theirs.save_pretrained(tmp_path)  # type: ignore[operator]
    ours = UNet.from_diffusers(tmp_path).eval()

    assert json.loads((tmp_path / "config.json").read_text())["_class_name"] in (STANDARD, DREAMLITE)
    for parameter_name, parameter in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[parameter_name], parameter)
    with torch.no_grad():
        sample, context = torch.randn(1, 4, 16, 16), torch.randn(1, 5, LIKENESSES[name].get("encoder_hid_dim", 24))
        size_ids = torch.ones(1, 2)
        expected = theirs(sample, 10, context, added_cond_kwargs={"time_ids": size_ids}).sample
        found = ours(sample, torch.tensor([10.0]), context, size_ids if name == "dreamlite" else None)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="safetensors"):
        UNet.from_diffusers(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "null", "[" * 100_000])
def test_a_config_that_is_no_json_object_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "diffusion_pytorch_model.safetensors").touch()
    with pytest.raises(UsageError, match=r"config\.json") as refusal:
        UNet.from_diffusers(tmp_path)
    assert len(str(refusal.value).splitlines()) <= 3


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    build(LIKENESSES["sd15"]).save_pretrained(tmp_path)  # type: ignore[operator]
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"in_channels": 9}))
    with pytest.raises(UsageError, match="do not fit"):
        UNet.from_diffusers(tmp_path)
