"""A model card is one that Hugging Face can read, and says no more than what was found."""

from pathlib import Path

import pytest

from deploy.model_card import LatencyRow, ModelCard, ParityRow, ScoreRow, render_model_card, write_model_card
from deploy.parity import Parity, not_run_here
from tests.deploy.small_unets import own_arch

CARD = ModelCard(
    title="A tiny UNet",
    arch=own_arch(),
    datasets=("scenes",),
    training="Trained for 4 minutes on two CPU cores.",
    latencies=(
        LatencyRow(
            device="2-core x86-64, ONNX Runtime 1.32.0, float32, 2 threads",
            method="estimate",
            latency_ms=3.14159,
            interval_ms=(3.0, 3.3),
            provenance="30 blocks, 20 samples each",
        ),
        LatencyRow(device="the same", method="measured", latency_ms=3.25, provenance="20 samples"),
    ),
    scores=(ScoreRow(name="six skills", value=0.5625, better="higher", provenance="96 held-out prompts"),),
    parities=(
        ParityRow(
            file="onnx/unet.onnx",
            parity=Parity(
                is_checked=True,
                reason="ONNX Runtime 1.32.0 on the CPU",
                tolerance=1e-4,
                max_abs_error=2e-6,
                max_rel_error=1e-6,
            ),
        ),
        ParityRow(file="core_ml/unet.mlpackage", parity=not_run_here("Core ML predicts only on macOS", tolerance=2e-2)),
    ),
    sample_image="samples.png",
)


def test_huggingface_hub_reads_the_front_matter(tmp_path: Path) -> None:
    from huggingface_hub import ModelCard as HubModelCard

    write_model_card(CARD, tmp_path / "README.md")
    data = HubModelCard.load(tmp_path / "README.md").data.to_dict()
    assert data == {
        "license": "apache-2.0",
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": ["snapnas", "text-to-image", "neural-architecture-search"],
        "datasets": ["scenes"],
    }


@pytest.mark.parametrize(
    "line",
    [
        (
            "| 2-core x86-64, ONNX Runtime 1.32.0, float32, 2 threads | estimate | 3.14 ms | 3.00 to 3.30 ms "
            "| 30 blocks, 20 samples each |"
        ),
        "| the same | measured | 3.25 ms | not known | 20 samples |",
        "| six skills | 0.5625 | higher | 96 held-out prompts |",
        (
            "| onnx/unet.onnx | agrees: largest error 2e-06 absolute, 1e-06 relative; tolerance 0.0001; "
            "ONNX Runtime 1.32.0 on the CPU |"
        ),
        "| core_ml/unet.mlpackage | not run here: Core ML predicts only on macOS |",
        (
            "| 4 x 4 | 32 | 1 residual, transformers 1 (self and cross-attention) "
            "| 2 residual, transformers 0/1 (self and cross-attention) | separable 5 x 5, expansion 2 "
            "| 4 heads, 1 of keys and values |"
        ),
        "![Samples of this model](samples.png)",
    ],
)
def test_a_card_says(line: str) -> None:
    assert line in render_model_card(CARD).splitlines()


def test_text_from_elsewhere_stays_text() -> None:
    import yaml

    hostile = 'x" | <script>alert(1)</script>\n---\n[a](javascript:b) 🙂'
    card = ModelCard(
        title=hostile,
        arch=own_arch(),
        datasets=(hostile,),
        training="",
        latencies=(LatencyRow(device=hostile, method="measured", latency_ms=1.0, provenance=""),),
    )
    front_matter, body = render_model_card(card).removeprefix("---\n").split("\n---\n", maxsplit=1)
    assert yaml.safe_load(front_matter)["datasets"] == [hostile]
    assert "<script>" not in body
    assert "](javascript:b)" not in body.replace("\\[a](javascript:b)", "")
    row = next(line for line in body.splitlines() if "1.00 ms" in line)
    assert row.replace("\\|", "").count("|") == 6
