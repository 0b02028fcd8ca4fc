"""What is packed is small, and still the block it should be."""

import dataclasses
import math
import zlib
from pathlib import Path

import pytest
import torch

from deploy.to_core_ml import CoreMLDescription, read_core_ml
from profilers.bundling.core_ml_choices import Layout
from profilers.bundling.models import (
    ModelError,
    check_model,
    expected_operators,
    output_shape,
    tiled_weight,
    write_model,
)
from profilers.subject import Subject
from search_space.blocks import build_block, example_inputs
from search_space.space import random_arch, reachable_specs
from search_space.spaces import search_space
from search_space.specs import BlockSpec, TransformerSpec

KINDS: dict[str, BlockSpec] = {spec.kind: spec for spec in sorted(reachable_specs(search_space("tiny")), key=repr)}


def test_a_tiled_weight_packs_small_and_is_dense_float16() -> None:
    weight = tiled_weight(torch.Size([320, 320, 3, 3]), seed=1)
    assert torch.equal(weight, weight.half().float())
    assert weight.abs().min() > torch.finfo(torch.float16).smallest_normal
    assert weight.std() == pytest.approx(1 / math.sqrt(320 * 9), rel=0.2)
    raw = weight.half().numpy().tobytes()
    assert len(zlib.compress(raw, 9)) < len(raw) / 80


def test_no_two_weights_and_no_two_rows_are_equal() -> None:
    first, second = (tiled_weight(torch.Size([64, 64]), seed=seed) for seed in (1, 2))
    assert not torch.equal(first, second)
    assert len({tuple(row.tolist()) for row in first}) == 64


@pytest.mark.parametrize("kind", KINDS)
def test_the_expected_shape_is_what_torch_gives(kind: str) -> None:
    spec = KINDS[kind]
    with torch.no_grad():
        assert build_block(spec)(*example_inputs(spec)).shape == output_shape(spec)


def test_a_written_model_passes_and_a_changed_one_does_not(tmp_path: Path) -> None:
    spec = next(
        spec
        for spec in sorted(reachable_specs(search_space("tiny")), key=repr)
        if isinstance(spec, TransformerSpec) and spec.cross_attention and spec.self_attention
    )
    write_model(Subject.of_block(spec), tmp_path / "block.mlpackage", layout="split_einsum")
    description = read_core_ml(tmp_path / "block.mlpackage")
    check_model(Subject.of_block(spec), description, layout="split_einsum")
    for changed, complaint in _changed(description):
        with pytest.raises(ModelError, match=complaint):
            check_model(Subject.of_block(spec), changed, layout="split_einsum")
    with pytest.raises(ModelError, match="operators"):
        check_model(Subject.of_block(spec), description, layout="plain")


@pytest.mark.slow
def test_a_network_holds_the_operators_of_its_blocks(tmp_path: Path) -> None:
    layout: Layout = "split_einsum"  # plain networks are checked where bundles are written
    arch, other = (random_arch(search_space("tiny"), seed) for seed in (0, 1))
    write_model(Subject.of_network(arch), tmp_path / "network.mlpackage", layout=layout)
    description = read_core_ml(tmp_path / "network.mlpackage")
    check_model(Subject.of_network(arch), description, layout=layout)
    with pytest.raises(ModelError, match="network converted wrongly: operators"):
        check_model(Subject.of_network(other), description, layout=layout)


def _changed(description: CoreMLDescription) -> list[tuple[CoreMLDescription, str]]:
    return [
        (dataclasses.replace(description, output_shapes={"output": (1, 2, 3)}), "outputs"),
        (dataclasses.replace(description, input_shapes={}), "inputs"),
        (dataclasses.replace(description, weight_types=frozenset({"FLOAT32"})), "FLOAT32"),
        (dataclasses.replace(description, weight_bytes=description.weight_bytes // 2), "bytes of weights"),
    ]


def test_split_einsum_has_a_softmax_for_each_head() -> None:
    spec = KINDS["transformer"]
    assert isinstance(spec, TransformerSpec)
    plain, split = expected_operators(spec, layout="plain"), expected_operators(spec, layout="split_einsum")
    assert split["softmax"] == spec.num_heads * plain["softmax"]
    assert split["linear"] == 0
