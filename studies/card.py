"""What the model card of an export says that only a study knows: latencies with their provenance, scores, and use.

`deploy.model_card` renders plain data; this file collects it from the latency table and the trained folder, and writes
the section on going from a caption to a picture, here and on a device that has only the ONNX or Core ML files.
"""

import datetime
from collections.abc import Sequence

from deploy.model_card import LatencyRow, ModelCard, ScoreRow
from profilers.device import Device
from profilers.estimating import MissingLatencyError, estimate
from profilers.latency_table import LatencyTable
from profilers.measurement import Sample
from profilers.subject import Subject
from search_space.arch import ArchConfig
from search_space.walk import block_specs
from studies.trained import GRID_FILE, TrainedWinner
from training.config import Prediction, SamplingConfig, TextEncoderConfig
from training.model import CONFIG_FILE, SMALLEST_T, TextToImage
from training.text_encoder import token_ids

_LOWER_IS_BETTER = ("velocity_error", "frechet_distance")
_NOT_SCORES = ("num_samples",)
_PROTOCOL = "random-interleaved rounds, median, bootstrap interval"


def model_card(trained: TrainedWinner, arch: ArchConfig, latencies: Sequence[LatencyRow]) -> ModelCard:
    """The card of a trained architecture, without the parities, which the export fills in."""
    document = trained.training
    outcome, settings, sampling = document["outcome"], document["training"], document["sampling"]
    data = document["data"]["name"]
    distillation = "distilled from a larger teacher" if settings["distillation"] else "trained on data alone"
    provenance = f"{data}, held-out part"
    sampled = f"{trained.scores.get('num_samples', 0):.0f} held-out prompts of {data}, {sampling['steps']} Euler steps"
    return ModelCard(
        title=f"SnapNAS text-to-image {arch.arch_id}",
        arch=arch,
        datasets=(data,),
        training=(
            f"A text-to-image model with a UNet of SnapNAS, trained on {data} with flow matching, {distillation}, "
            f"{outcome['num_steps']} steps of {settings['batch_size']} images in "
            f"{outcome['duration_s']:.0f} s. The averaged weights are kept."
        ),
        latencies=tuple(latencies),
        scores=tuple(
            ScoreRow(
                name=name,
                value=value,
                better="lower" if name in _LOWER_IS_BETTER else "higher",
                provenance=provenance if name == "velocity_error" else f"{sampled}, guidance {sampling['guidance']}",
            )
            for name, value in trained.scores.items()
            if name not in _NOT_SCORES
        ),
        sample_image=GRID_FILE,
    )


_PREDICTION: dict[Prediction, str] = {
    "velocity": "Its output `prediction` is the velocity v.",
    "image": f"Its output `prediction` is the clean latent; v = (`sample` - `prediction`) / max(t, {SMALLEST_T}).",
}
"""How the network's output becomes a velocity."""


def latency_rows(
    arch: ArchConfig, table: LatencyTable, device: Device, *, interpolate: bool = False
) -> tuple[LatencyRow, ...]:
    """The network's latency on a device: the sum of its blocks, and the whole network where it was really run.

    Args:
        arch: The network.
        table: The latency table.
        device: The device.
        interpolate: Whether blocks that nobody measured are guessed from measured ones like them.
    """
    rows = []
    try:
        rows.append(_estimated(arch, table, device, interpolate=interpolate))
    except MissingLatencyError:
        pass  # a device whose blocks are not all known has no estimate; the card then shows none
    network = Subject.of_network(arch)
    measurement = table.measurement(device, network)
    if measurement is not None:
        samples = table.samples(device, [network])[network]
        rows.append(
            LatencyRow(
                device=_device_text(device),
                method="estimate" if device.is_estimate else "measured",
                latency_ms=measurement.median_ms,
                interval_ms=measurement.confidence_interval_ms(),
                provenance=f"{_formula(device)}{len(samples)} samples, {_PROTOCOL}, {_dates(samples)}",
            )
        )
    return tuple(rows)


def _estimated(arch: ArchConfig, table: LatencyTable, device: Device, *, interpolate: bool) -> LatencyRow:
    estimated = estimate(arch, table, device, interpolate=interpolate)
    specs = dict.fromkeys(block_specs(arch))
    guessed_from = (spec for guess in estimated.interpolated.values() for spec in guess.neighbours)
    sources = dict.fromkeys([*specs, *guessed_from])
    by_subject = table.samples(device, [Subject.of_block(spec) for spec in sources])
    samples = [sample for subject_samples in by_subject.values() for sample in subject_samples]
    version = table.version(device, sources, estimated.correction)
    labels = "".join(f"{label}; " for label in estimated.labels)
    correction = f", {estimated.correction.describe()}" if estimated.correction is not None else ""
    return LatencyRow(
        device=_device_text(device),
        method="estimate",
        latency_ms=estimated.latency_ms,
        interval_ms=(estimated.low_ms, estimated.high_ms),
        provenance=(
            f"{labels}{len(estimated.blocks)} blocks ({len(specs)} distinct){correction}; "
            f"{len(samples)} samples, {_PROTOCOL}, {_dates(samples)}; latency table version {version}"
        ),
    )


def _formula(device: Device) -> str:
    return "a formula, not a clock; " if device.is_estimate else ""


def _device_text(device: Device) -> str:
    return (
        f"{device.name} ({device.device_id}): {device.hardware}, {device.operating_system}, {device.runtime}, "
        f"{device.precision}, {device.threads} threads"
    )


def _dates(samples: Sequence[Sample]) -> str:
    taken = sorted(datetime.datetime.fromtimestamp(sample.taken_at, datetime.UTC).date() for sample in samples)
    return f"{taken[0]}" if taken[0] == taken[-1] else f"{taken[0]} to {taken[-1]}"


def usage_section(model: TextToImage, sampling: SamplingConfig, *, example_prompt: str) -> str:
    """The card's section on sampling, as Markdown; every number in it is the model's own."""
    image_size = model.arch.sample_size * model.codec.config.factor
    return f"""## From a caption to a picture

With SnapNAS, in this folder:

```python
from pathlib import Path

from deploy.weights import verify_manifest
from training.flow_matching import sample
from training.grid import save_grid
from training.model import load_text_to_image

verify_manifest(Path("."))  # every file is the one that was exported
model = load_text_to_image(Path("."))
prompts = [{example_prompt!r}]
images = sample(
    model,
    prompts,
    steps={sampling.steps},
    guidance={sampling.guidance},
    timestep_shift={sampling.timestep_shift},
    renewal={sampling.renewal},
    seed={sampling.seed},
)  # [1, 3, {image_size}, {image_size}] in [-1, 1]
save_grid(images, prompts, Path("sampled.png"))
```

{_tokens_section(model.text_encoder.config, model.arch.context_length, example_prompt=example_prompt)}

{_sampler_section(model, sampling)}
"""


def _tokens_section(config: TextEncoderConfig, context_length: int, *, example_prompt: str) -> str:
    ids = token_ids([example_prompt], context_length=context_length, config=config)[0].tolist()
    return f"""### Without SnapNAS: the tokens

There is no vocabulary file. `text_to_image.json` holds the numbers used here.

1. Lower-case the caption and cut it into words and punctuation marks with the (Unicode) pattern `\\w+|[^\\w\\s]`. Keep
   the first {context_length - 1}.
2. Each word has {config.num_hashes} ids, one for each hash k from 0 to {config.num_hashes - 1}: x = CRC-32 of the UTF-8
   text `k:word` (zlib's CRC); then, in 32 unsigned bits, x ^= x >> 16, x *= 0x85EBCA6B, x ^= x >> 13,
   x *= 0xC2B2AE35, x ^= x >> 16; the id is 2 + x mod {config.num_buckets}.
3. `token_ids` is `[1, {context_length}, {config.num_hashes}]` (int64 in ONNX, int32 in Core ML): position 0 is the
   start token, {config.num_hashes} times the id 1; the words follow; the rest is padding, the id 0.
4. `text_encoder` turns `token_ids` into `context`. The empty caption gives the unconditional context.

To check a port: {example_prompt!r} is `{ids}`."""


def _sampler_section(model: TextToImage, sampling: SamplingConfig) -> str:
    codec, (channels, size, _) = model.codec.config, model.latent_shape
    shift = sampling.timestep_shift
    shifted = "" if shift == 1 else f", each moved to {shift} u / (1 + {shift - 1} u)"
    return f"""### Without SnapNAS: the sampler

1. `sample` starts as normal noise `[1, {channels}, {size}, {size}]`. Times go from u = 1 to 0 in {sampling.steps} equal
   steps{shifted}.
2. At each time t, run `unet` with `timestep` = 1000 t twice: with the caption's context (v_text) and with the empty
   caption's (v_empty). {_PREDICTION[model.prediction]}
   v = v_empty + {sampling.guidance} (v_text - v_empty).
3. `sample` += (next t - t) v. After the last step it is the picture's latent.{_renewal(sampling.renewal)}
4. Decode: channel c f f + i f + j at (y, x) becomes colour c at (f y + i, f x + j), with f = {codec.factor}; then times
   {codec.standard_deviation} plus {codec.mean}, clipped to -1..1. `{CONFIG_FILE}` holds these under `codec`."""


def _renewal(part: float) -> str:
    """The sentence that drawing noise anew adds to a step of the sampler."""
    if part == 0:
        return ""
    return f"""
   Before it, with e = `sample` + (1 - t) v and new normal noise n, also
   `sample` += (next t) ((sqrt(1 - {part}^2) - 1) e + {part} n)."""
