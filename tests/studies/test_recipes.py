"""Every recipe is a whole, consistent study."""

import inspect
import json

import pytest

from search_space.errors import UsageError
from studies.config import LatencyQuantile
from studies.recipes import RECIPES, study_config
from studies.run_options import DEFAULT_RECIPE


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_documented_named_and_strict_json(name: str) -> None:
    config = study_config(name)
    assert config.recipe == name
    assert f"`python -m studies.run{' ' + name if name != DEFAULT_RECIPE else ''}" in (
        inspect.getdoc(RECIPES[name]) or ""
    )
    document = json.loads(config.to_json(), parse_constant=pytest.fail)
    assert (document["recipe"], document["proxy_name"]) == (name, config.proxy.name)
    assert config.search_space.name == config.space
    assert [objective.name for objective in config.objectives] == ["latency_ms", "held_out_error"]


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "snapgen_phone"])
def test_a_teacher_fits_the_architectures_it_teaches(name: str) -> None:
    config = study_config(name)
    arch, interfaces = config.teacher.arch, config.search_space.interfaces
    assert arch.sample_size == config.search_space.sample_size
    assert arch.in_channels in [interface.in_channels for interface in interfaces]
    assert config.image_size == arch.sample_size * config.teacher.codec.factor


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown recipe 'smok'\nallowed: tiny_on_cpu.*\nfix: did you mean smoke"):
        study_config("smok")


def test_a_quantile_is_a_share() -> None:
    with pytest.raises(UsageError, match="latency quantile 1.5"):
        LatencyQuantile(quantile=1.5)
