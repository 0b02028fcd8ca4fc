"""An export holds the very model that was trained, in every format, and its card is enough to draw with it."""

import dataclasses
import json
import math
import re
import subprocess
import sys
import zlib
from pathlib import Path

import numpy
import onnxruntime
import pytest
import torch
from PIL import Image

from deploy.model_card import LatencyRow
from deploy.to_core_ml import read_core_ml
from deploy.weights import verify_manifest
from profilers.backends.exact import ExactBackend
from profilers.campaign import run_campaign
from profilers.latency_table import LatencyTable
from profilers.measuring import measure_network
from profilers.storage import open_engine
from profilers.subject import Subject
from search_space.arch_json import arch_from_json
from search_space.space import reachable_specs
from search_space.spaces import search_space
from search_space.unet import UNet
from search_space.walk import block_specs
from studies.card import latency_rows
from studies.exported import export_trained, text_encoder_module
from studies.trained import TrainedWinner
from tests.studies.small_training import small_arch, small_config, train_small
from training.flow_matching import new_noise, sample
from training.model import load_text_to_image
from training.text_encoder import token_ids

ROOT = Path(__file__).parents[2]
LATENCY = LatencyRow(device="a phone", method="measured", latency_ms=1.5, provenance="20 samples")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedWinner:
    workspace = tmp_path_factory.mktemp("workspace")
    return train_small(workspace / "trained", workspace=workspace)


@pytest.fixture(scope="module")
def export(trained: TrainedWinner) -> Path:
    folder = trained.folder.parent / "export"
    paths = export_trained(trained, folder=folder, latencies=[LATENCY])
    assert all(path.exists() for path in paths.values())
    return folder


def test_an_export_verifies_and_loads_to_the_bit(trained: TrainedWinner, export: Path) -> None:
    files = {file.path for file in verify_manifest(export).files}
    assert {"arch.json", "README.md", "model.safetensors", "text_to_image.json", "scores.json"} <= files
    assert arch_from_json((export / "arch.json").read_text()) == small_arch()
    original, reloaded = trained.load(), load_text_to_image(export)
    prompts = ["a red circle", "two blue squares"]
    assert torch.equal(sample(reloaded, prompts, steps=2), sample(original, prompts, steps=2))
    unet = UNet.from_diffusers(export / "unet")
    for name, tensor in original.unet.state_dict().items():
        assert torch.equal(unet.state_dict()[name], tensor), name


def test_an_export_is_verified_and_not_written_again(trained: TrainedWinner, export: Path) -> None:
    written_at = {path: path.stat().st_mtime_ns for path in export.rglob("*")}
    export_trained(trained, folder=export, latencies=[LATENCY])
    assert {path: path.stat().st_mtime_ns for path in export.rglob("*")} == written_at


def test_core_ml_packages_carry_our_metadata(export: Path) -> None:
    for name, inputs in (("unet", {"sample", "timestep", "context"}), ("text_encoder", {"token_ids"})):
        description = read_core_ml(export / "core_ml" / f"{name}.mlpackage")
        assert set(description.input_shapes) == inputs
        assert description.metadata["arch_id"] == small_arch().arch_id
        assert {"author", "license", "version", "format_version", "git_commit"} <= description.metadata.keys()
    assert "core_ml/unet.mlpackage | not run here" in (export / "README.md").read_text() or sys.platform == "darwin"


def test_the_text_encoder_by_ids_is_the_text_encoder(trained: TrainedWinner) -> None:
    model = trained.load()
    captions = ["", "two green stars, left of a red circle!", "a"]
    ids = token_ids(captions, context_length=8, config=model.text_encoder.config)
    with torch.no_grad():
        by_ids = text_encoder_module(model).module(ids)
        assert torch.equal(by_ids, model.encode_text(captions))


def test_the_card_s_snippet_runs(export: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (export / "README.md").read_text(), flags=re.DOTALL)
    assert len(blocks) == 2
    code = blocks[1].replace('Path("sampled.png")', f"Path({str(tmp_path / 'sampled.png')!r})")
    subprocess.run(
        [sys.executable, "-c", code], cwd=export, env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, check=True
    )
    with Image.open(tmp_path / "sampled.png") as picture:
        assert picture.width > 100


def _ids_as_the_card_says(caption: str, *, num_buckets: int, num_hashes: int, length: int) -> numpy.ndarray:
    rows = [[1] * num_hashes]
    for word in re.findall(r"\w+|[^\w\s]", caption.lower())[: length - 1]:
        row = []
        for k in range(num_hashes):
            x = zlib.crc32(f"{k}:{word}".encode())
            x ^= x >> 16
            x = x * 0x85EBCA6B % 2**32
            x ^= x >> 13
            x = x * 0xC2B2AE35 % 2**32
            x ^= x >> 16
            row.append(2 + x % num_buckets)
        rows.append(row)
    rows += [[0] * num_hashes] * (length - len(rows))
    return numpy.array([rows], dtype=numpy.int64)  # [1, L, K]


def test_following_the_card_with_onnx_alone_draws_the_same_picture(trained: TrainedWinner, export: Path) -> None:
    config = json.loads((export / "text_to_image.json").read_text())
    encoder, codec = config["text_encoder"], config["codec"]
    unet, text_encoder = (
        onnxruntime.InferenceSession(export / "onnx" / f"{name}.onnx", providers=["CPUExecutionProvider"])
        for name in ("unet", "text_encoder")
    )
    prompt = trained.training["outcome"]["example_prompt"]

    def context(caption: str) -> numpy.ndarray:
        ids = _ids_as_the_card_says(
            caption,
            num_buckets=encoder["num_buckets"],
            num_hashes=encoder["num_hashes"],
            length=config["arch"]["context_length"],
        )
        if caption:
            assert f"is `{ids[0].tolist()}`" in (export / "README.md").read_text()
        return text_encoder.run(None, {"token_ids": ids})[0]

    text, empty = context(prompt), context("")
    sampling = small_config().sampling
    latent = torch.randn(1, 12, 8, 8, generator=torch.Generator().manual_seed(sampling.seed)).numpy()
    for step in range(sampling.steps):
        t, after = 1 - step / sampling.steps, 1 - (step + 1) / sampling.steps
        timestep = numpy.array([1000 * t], dtype=numpy.float32)
        v_text, v_empty = (
            unet.run(None, {"sample": latent, "timestep": timestep, "context": one})[0] for one in (text, empty)
        )
        v = v_empty + sampling.guidance * (v_text - v_empty)
        r = sampling.renewal
        e = latent + (1 - t) * v
        n = new_noise(latent.shape, step=step, seed=sampling.seed).numpy()
        latent = latent + after * ((math.sqrt(1 - r**2) - 1) * e + r * n)
        latent = (latent + (after - t) * v).astype(numpy.float32)
    f = codec["factor"]
    picture = latent.reshape(3, f, f, 8, 8).transpose(0, 3, 1, 4, 2).reshape(1, 3, 8 * f, 8 * f)
    picture = numpy.clip(picture * codec["standard_deviation"] + codec["mean"], -1, 1)

    expected = sample(trained.load(), [prompt], **dataclasses.asdict(sampling))
    numpy.testing.assert_allclose(picture, expected.numpy(), atol=1e-4)


def test_the_card_says_where_a_latency_comes_from(tmp_path: Path, export: Path) -> None:
    assert "| a phone | measured | 1.50 ms | not known | 20 samples |" in (export / "README.md").read_text()

    engine = open_engine(f"sqlite:///{tmp_path}/snapnas.db")
    measure_network(small_arch(), "exact", engine)
    table, device = LatencyTable(engine), ExactBackend().device
    (measured,) = latency_rows(small_arch(), table, device)  # no block is known yet, so there is no sum
    assert measured.method == "estimate"  # of a formula, the whole network is no measurement either
    assert device.device_id in measured.device
    assert re.search(r"\d+ samples, .*, 20\d\d-\d\d-\d\d", measured.provenance)

    run_campaign([Subject.of_block(spec) for spec in dict.fromkeys(block_specs(small_arch()))], ExactBackend(), table)
    estimated, measured = latency_rows(small_arch(), table, device)
    assert estimated.method == "estimate"
    assert "formula, never measured" in estimated.provenance
    assert "a formula, not a clock" in measured.provenance
    assert "latency table version" in estimated.provenance
    assert estimated.latency_ms == pytest.approx(measured.latency_ms)

    forgotten = next(spec for spec in block_specs(small_arch()) if spec.kind == "residual")
    table.forget(device, [Subject.of_block(forgotten)])
    assert len(latency_rows(small_arch(), table, device)) == 1
    others = [spec for spec in reachable_specs(search_space("tiny")) if spec.kind == "residual" and spec != forgotten]
    run_campaign([Subject.of_block(spec) for spec in others[:4]], ExactBackend(), table)
    guessed, _ = latency_rows(small_arch(), table, device, interpolate=True)
    assert "1 distinct blocks interpolated" in guessed.provenance
    assert guessed.latency_ms == pytest.approx(measured.latency_ms, rel=0.3)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_files_for_android_come_where_they_are_asked_for_and_stay(trained: TrainedWinner, tmp_path: Path) -> None:
    pytest.importorskip("executorch.exir", reason="needs snapnas[devices]")
    folder = tmp_path / "export"
    paths = export_trained(trained, folder=folder, latencies=[LATENCY], with_executorch=True)
    assert {path.name for path in paths["executorch"].iterdir()} == {"unet.pte", "text_encoder.pte"}
    card = (folder / "README.md").read_text()
    assert re.search(r"\| executorch/unet\.pte \| agrees: .* of the operators in XNNPACK", card)
    assert re.search(r"\| executorch/text_encoder\.pte \| agrees: ", card)
    written_at = (folder / "manifest.json").stat().st_mtime_ns
    assert export_trained(trained, folder=folder, latencies=[LATENCY]) == paths  # the plain command keeps them
    assert (folder / "manifest.json").stat().st_mtime_ns == written_at


@pytest.mark.slow
def test_a_damaged_export_is_written_again(trained: TrainedWinner, export: Path) -> None:
    network, damage = export / "onnx" / "unet.onnx", b"not what it was"
    network.write_bytes(damage)
    export_trained(trained, folder=export, latencies=[LATENCY])
    assert network.read_bytes() != damage
    verify_manifest(export)
