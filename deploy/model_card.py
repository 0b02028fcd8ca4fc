"""Writes the model card of an export: a README.md that Hugging Face reads and a person can trust.

The front matter names licence, library and task. The text says what the network is, how fast it is where (an estimate
says that it is one), how good it was found to be, and which of the exported files were really compared with torch. All
of it comes in as plain data: this file knows neither the studies nor the latency table.
"""

import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploy.parity import Parity
from search_space.arch import ArchConfig, PathConfig, StageConfig
from search_space.counts import count


@dataclass(frozen=True, kw_only=True)
class LatencyRow:
    """One latency of the whole network."""

    device: str
    """Hardware, OS, runtime and version, precision, threads."""
    method: Literal["estimate", "measured"]
    """A sum of measured blocks, or the whole network really measured."""
    latency_ms: float
    """Median of one run, or the sum of the blocks' medians."""
    interval_ms: tuple[float, float] | None = None
    """95 % confidence interval, where there is one."""
    provenance: str
    """How it came about: number of samples, date, version of the table."""


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One score on held-out data."""

    name: str
    """What was scored."""
    value: float
    """The score."""
    better: Literal["higher", "lower"]
    """Which way is better."""
    provenance: str
    """On what and how: data, number of samples, steps, guidance."""


@dataclass(frozen=True, kw_only=True)
class ParityRow:
    """What was compared for one exported file."""

    file: str
    """Its path in the export."""
    parity: Parity
    """The comparison."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Everything a model card says."""

    title: str
    """Name of the model."""
    license: str = "apache-2.0"
    """Identifier as Hugging Face spells it."""
    arch: ArchConfig
    """The network."""
    datasets: tuple[str, ...]
    """What it was trained on."""
    tags: tuple[str, ...] = ("snapnas", "text-to-image", "neural-architecture-search")
    """Search words."""
    training: str
    """How it was trained, in a sentence or two."""
    latencies: tuple[LatencyRow, ...] = ()
    """Its latencies."""
    scores: tuple[ScoreRow, ...] = ()
    """Its scores."""
    parities: tuple[ParityRow, ...] = ()
    """What was compared."""
    sample_image: str | None = None
    """Path of a picture in the export."""


def write_model_card(card: ModelCard, path: Path) -> None:
    """Writes the card as Markdown."""
    path.write_text(render_model_card(card), encoding="utf-8")


def render_model_card(card: ModelCard) -> str:
    """The card as Markdown with YAML front matter."""
    sections = [
        _front_matter(card),
        f"# {_text(card.title)}\n\n{_text(card.training)}",
        _sample(card),
        _architecture(card.arch),
        _latencies(card.latencies),
        _scores(card.scores),
        _loading(),
        _parities(card.parities),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(card: ModelCard) -> str:
    lines = [
        f"license: {_yaml_string(card.license)}",
        "library_name: diffusers",
        "pipeline_tag: text-to-image",
        *_yaml_list("tags", card.tags),
        *_yaml_list("datasets", card.datasets),
    ]
    return "\n".join(("---", *lines, "---"))


def _yaml_list(key: str, values: Sequence[str]) -> list[str]:
    return [f"{key}:", *(f"- {_yaml_string(value)}" for value in values)] if values else []


def _yaml_string(value: str) -> str:
    """A JSON string is a YAML string, once nothing is written as a pair of surrogates."""
    return json.dumps(value, ensure_ascii=False)


def _sample(card: ModelCard) -> str:
    return f"![Samples of this model]({card.sample_image})" if card.sample_image else ""


def _architecture(arch: ArchConfig) -> str:
    counts = count(arch)
    rows = [
        (
            f"{arch.size_at(index)} x {arch.size_at(index)}",
            str(stage.channels),
            _path(stage.down),
            _path(stage.up),
            _convolution(stage),
            _attention(stage),
        )
        for index, stage in enumerate(arch.stages)
    ]
    table = _table(("Resolution", "Channels", "Down", "Up", "Convolution", "Attention"), rows)
    return (
        f"## Architecture\n\nA UNet of {counts.num_params:,} parameters and {counts.macs:,} multiply-adds "
        f"for a latent of {arch.in_channels} x {arch.sample_size} x {arch.sample_size} and {arch.context_length} text "
        f"tokens. Its `arch_id` is `{arch.arch_id}`; `arch.json` holds it completely.\n\n{table}\n\n"
        f"Middle: {_path(arch.mid)}."
    )


def _path(path: PathConfig) -> str:
    num_blocks = len(path.transformer_depths)
    if not num_blocks:
        return "none"
    blocks = f"{num_blocks} residual"
    if not path.has_transformer:
        return blocks
    kinds = [name for name, is_there in (("self", path.self_attention), ("cross", path.cross_attention)) if is_there]
    attention = f" ({' and '.join(kinds)}-attention)" if kinds else ""
    return f"{blocks}, transformers {'/'.join(map(str, path.transformer_depths))}{attention}"


def _convolution(stage: StageConfig) -> str:
    convolution = stage.convolution
    size = f"{convolution.kind} {convolution.kernel} x {convolution.kernel}"
    return size if convolution.kind == "full" else f"{size}, expansion {convolution.expansion}"


def _attention(stage: StageConfig) -> str:
    if not (stage.down.has_transformer or stage.up.has_transformer):
        return "none"
    return f"{stage.num_heads} heads, {stage.attention.num_kv_heads} of keys and values"


def _latencies(latencies: Sequence[LatencyRow]) -> str:
    if not latencies:
        return ""
    rows = [
        (row.device, row.method, f"{row.latency_ms:.2f} ms", _interval(row.interval_ms), row.provenance)
        for row in latencies
    ]
    note = (
        "An *estimate* is the sum of the network's blocks, each measured alone on the device; *measured* is the whole "
        "network, really run. Both are one step of the UNet, batch 1."
    )
    return f"## Latency\n\n{note}\n\n{_table(('Device', 'Method', 'Latency', '95 % interval', 'Provenance'), rows)}"


def _interval(interval_ms: tuple[float, float] | None) -> str:
    return f"{interval_ms[0]:.2f} to {interval_ms[1]:.2f} ms" if interval_ms else "not known"


def _scores(scores: Sequence[ScoreRow]) -> str:
    if not scores:
        return ""
    rows = [(row.name, f"{row.value:.4g}", row.better, row.provenance) for row in scores]
    return f"## Scores\n\n{_table(('Score', 'Value', 'Better', 'Provenance'), rows)}"


def _loading() -> str:
    return """## How to load it

```python
from pathlib import Path

from deploy.load_unet import load_unet

unet = load_unet(Path("."))  # compares every file with manifest.json first
```

Where `unet/config.json` says `UNet2DConditionModel`, diffusers opens it too:
`UNet2DConditionModel.from_pretrained(".", subfolder="unet")`. `onnx/` runs with ONNX Runtime and `core_ml/` on Apple
devices from iOS 17 and macOS 14 on. `executorch/`, where it is there, runs in Android and iOS apps with ExecuTorch."""


def _parities(parities: Sequence[ParityRow]) -> str:
    if not parities:
        return ""
    rows = [(row.file, str(row.parity)) for row in parities]
    return f"## Agreement with torch\n\n{_table(('File', 'Compared with torch in float32'), rows)}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *([_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(text: str) -> str:
    """Text from elsewhere (a device's name, say) as text: no markup, no table cell of its own."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|").replace("[", "\\[").replace("`", "\\`")
