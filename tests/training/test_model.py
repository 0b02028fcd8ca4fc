"""Text-to-image models: built from a seed, saved, and loaded to the same outputs."""

import dataclasses
from pathlib import Path

import pytest
import torch

from search_space.arch import AddedConditioning
from search_space.errors import UsageError
from tests.training.small import make_arch, make_model
from training.flow_matching import sample
from training.model import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    TextToImage,
    build_text_to_image,
    load_text_to_image,
    save_text_to_image,
)


def test_a_seed_decides_the_weights_and_leaves_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    first, second, other = make_model(seed=1), make_model(seed=1), make_model(seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    pairs = list(zip(first.parameters(), second.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(own, same) for own, same, _ in pairs)
    assert not all(torch.equal(own, different) for own, _, different in pairs)


def test_velocity_has_the_latents_shape_and_depends_on_time_and_text(model: TextToImage) -> None:
    latent = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    context = model.encode_text(["red", "red"])
    early, late = (model.velocity(latent, torch.full((2,), t), context) for t in (0.1, 0.9))
    blue = model.velocity(latent, torch.full((2,), 0.1), model.encode_text(["blue", "blue"]))
    assert early.shape == latent.shape
    assert not torch.allclose(early, late)
    assert not torch.allclose(early, blue)


def test_a_predicted_image_reached_along_its_velocity_is_that_image() -> None:
    """x_t - t v = x_0, whatever t."""
    model = build_text_to_image(make_arch(), prediction="image", seed=0).eval()
    latent = torch.randn(3, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    t, context = torch.tensor([0.06, 0.5, 1.0]), model.encode_text(["red", "green", "blue"])
    image = model.unet(latent, 1000 * t, context)
    velocity, features = model.velocity_and_features(latent, t, context)
    torch.testing.assert_close(latent - t[:, None, None, None] * velocity, image, rtol=1e-4, atol=1e-4)
    assert torch.equal(velocity, model.velocity(latent, t, context))
    assert len(features) > 0
    assert model.velocity(latent, torch.zeros(3), context).isfinite().all()


def test_what_the_unet_predicts_is_remembered_on_disk(tmp_path: Path) -> None:
    save_text_to_image(build_text_to_image(make_arch(), prediction="image", seed=0), tmp_path)
    assert load_text_to_image(tmp_path).prediction == "image"


def test_a_saved_model_is_loaded_to_the_same_pictures(model: TextToImage, tmp_path: Path) -> None:
    save_text_to_image(model, tmp_path / "model")
    loaded = load_text_to_image(tmp_path / "model")
    assert loaded.arch == model.arch
    assert torch.equal(sample(loaded, ["red"], steps=2), sample(model, ["red"], steps=2))
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [WEIGHTS_FILE, CONFIG_FILE]


@pytest.mark.parametrize("file", [CONFIG_FILE, WEIGHTS_FILE])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b"\xff\xfe"])
def test_a_folder_without_a_model_is_refused(
    model: TextToImage, tmp_path: Path, file: str, content: bytes | None
) -> None:
    save_text_to_image(model, tmp_path)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(UsageError, match="does not hold a text-to-image model"):
        load_text_to_image(tmp_path)


def test_an_architecture_for_other_latents_is_refused() -> None:
    with pytest.raises(UsageError, match="in_channels 4"):
        make_model(dataclasses.replace(make_arch(), in_channels=4))


def test_an_architecture_that_wants_pooled_text_is_refused() -> None:
    added = AddedConditioning(pooled_text_width=0, num_size_ids=2, size_id_width=8)
    with pytest.raises(UsageError, match="pooled text"):
        make_model(dataclasses.replace(make_arch(), added_conditioning=added))


def test_an_architecture_without_cross_attention_is_trained_all_the_same() -> None:
    model = make_model(make_arch(cross_attention=False))
    assert sample(model, ["red"], steps=1).shape == (1, 3, 8, 8)
