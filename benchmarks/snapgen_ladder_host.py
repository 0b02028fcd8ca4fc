"""`python -m benchmarks.snapgen_ladder_host`: SnapGen's ablation on this machine, beside what a phone gained from it.

SnapGen (arXiv:2412.09619) reports what four edits of a UNet did to its latency on an iPhone 15 Pro. This benchmark
measures the same four, whole networks with the paper's channels, before and after the edit in turn: round after round
both run, in changing order, so that whatever slows this machine slows both. The result is a ratio, not a millisecond.

Two networks are loaded at a time, of 2.35 GB each at most in float32, and about three times that in memory: 14.4 GB
have to be free, or nothing is measured.
"""

import dataclasses
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy

from profilers.backends.registry import open_backend
from profilers.backends.roofline import estimated_latency_ms
from profilers.defaults import DEFAULT_DEVICE
from profilers.device import Device
from profilers.environment import provenance
from profilers.needed_memory import needed_bytes
from profilers.roofline.phones import PHONES
from profilers.subject import Subject
from profilers.worker_client import Worker
from search_space import command_line
from search_space.arch import ArchConfig
from search_space.counts import count
from search_space.errors import SnapNASError, UsageError
from search_space.progress import AbstractBar, progress
from search_space.references import snapgen_ladder
from search_space.walk import block_specs

PAGE_PATH = Path(__file__).with_suffix(".md")
PUBLISHED_LATENT = 128
PHONE = PHONES["iphone-15-pro"]
QUICK_ROUNDS = 4
NUM_RESAMPLES = 2000
TIME_LIMIT_S = 900.0  # for loading a network, or for two of its runs


@dataclass(frozen=True, kw_only=True)
class LadderOptions:
    """Measures SnapGen's four architectural edits on this machine, before and after in turn."""

    device: str = DEFAULT_DEVICE
    """Device, such as host-onnxruntime or host-onnxruntime:threads=2."""
    latent: int = 64
    """Side of the latent; the phone's figures are for 128."""
    rounds: int = 15
    """Runs of each network of a pair."""
    quick: bool = False
    """Four rounds only, and the page is not written."""
    out: str = str(PAGE_PATH)
    """Write the page to this file."""
    json: bool = False
    """Print the result as one JSON line on stdout."""

    def __post_init__(self) -> None:
        command_line.require_folder_of(self.out, option="--out")
        if self.latent < 4 or self.latent % 4:
            raise UsageError(f"--latent {self.latent} was given", allowed="a multiple of 4: the UNet halves it twice")
        if self.rounds < 2:
            raise UsageError(f"--rounds {self.rounds} was given", allowed="at least 2")


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One architectural edit."""

    title: str
    """What it changes."""
    before: ArchConfig
    """The network without it."""
    after: ArchConfig
    """The network with it."""
    published_percent: float | None
    """What it did to the phone's latency; None: not published."""


@dataclass(frozen=True, kw_only=True)
class EditResult:
    """One edit, measured."""

    edit: Edit
    """The edit."""
    before_ms: tuple[float, ...]
    """Milliseconds without it, one for each round."""
    after_ms: tuple[float, ...]
    """Milliseconds with it, one for each round."""

    @property
    def change_percent(self) -> float:
        """The median over the rounds of after / before, as a change."""
        return 100 * (statistics.median(self._ratios) - 1)

    @property
    def interval_percent(self) -> tuple[float, float]:
        """The 95 % bootstrap interval of the change."""
        generator = numpy.random.default_rng(0)
        drawn = generator.choice(numpy.array(self._ratios), size=(NUM_RESAMPLES, len(self._ratios)))
        low, high = numpy.quantile(numpy.median(drawn, axis=1), (0.025, 0.975))
        return 100 * (float(low) - 1), 100 * (float(high) - 1)

    @property
    def _ratios(self) -> list[float]:
        return [after / before for before, after in zip(self.before_ms, self.after_ms, strict=True)]


def snapgen_edits(latent: int) -> tuple[Edit, ...]:
    """The four edits on networks for latents of that side."""
    steps = {title.split()[0]: _at(arch, latent) for title, arch in snapgen_ladder()}
    rows = (
        ("no self-attention above the lowest resolution", "0", "1", -24.0),
        ("separable convolutions, expansion 2", "1", "2b", 100 / 2.4 - 100),
        ("feed-forward expansion 4 to 3", "2b", "3", None),
        ("one key/value head", "3", "4", -9.0),
    )
    return tuple(
        Edit(title=title, before=steps[before], after=steps[after], published_percent=percent)
        for title, before, after, percent in rows
    )


def measure_ladder(options: LadderOptions) -> None:
    """The command."""
    num_rounds = QUICK_ROUNDS if options.quick else options.rounds
    edits = snapgen_edits(options.latent)
    results = measure_edits(edits, options.device, num_rounds=num_rounds)
    page = _page(results, open_backend(options.device).device, latent=options.latent, num_rounds=num_rounds)
    print(page, file=sys.stderr)
    if not options.quick:
        Path(options.out).write_text(page)
    if options.json:
        command_line.print_json({"latent": options.latent, "edits": list(map(_json_row, results))})


def measure_edits(edits: Sequence[Edit], device_name: str, *, num_rounds: int) -> list[EditResult]:
    """Measures every edit's two networks in turn; only two networks are on disk and in memory at a time.

    Raises:
        SnapNASError: Two of them do not fit into the memory that is free.
    """
    for edit in edits:  # all of them before the first takes minutes
        _require_memory(edit, device_name)
    with progress("SnapGen's edits, before and after", total=2 * num_rounds * len(edits), unit="run") as bar:
        return [_measure_edit(edit, device_name, num_rounds=num_rounds, bar=bar) for edit in edits]


def _require_memory(edit: Edit, device_name: str) -> None:
    backend = open_backend(device_name)
    free_bytes = backend.free_bytes()
    needed = sum(needed_bytes(Subject.of_network(arch), backend.footprint) for arch in (edit.before, edit.after))
    if free_bytes is not None and needed > free_bytes and not backend.device.is_estimate:  # a formula loads nothing
        raise SnapNASError(
            f"the two networks of {edit.title!r} need about {needed / 1e9:.1f} GB on {device_name}",
            allowed=f"{free_bytes / 1e9:.1f} GB, which are free",
            fix="close what else uses memory, or give a machine with more",
        )


def _measure_edit(edit: Edit, device_name: str, *, num_rounds: int, bar: AbstractBar) -> EditResult:
    subjects = [Subject.of_network(arch) for arch in (edit.before, edit.after)]
    times_ms: tuple[list[float], list[float]] = ([], [])
    with tempfile.TemporaryDirectory(prefix="snapnas-ladder-") as folder:
        paths = [Path(folder) / subject.subject_id for subject in subjects]
        for subject, path in zip(subjects, paths, strict=True):
            bar.advance(0, note="writing a network")
            with Worker(device_name, time_limit_s=TIME_LIMIT_S) as writer:  # its memory goes with it
                writer.prepare(subject, path=path)
        with Worker(device_name, time_limit_s=TIME_LIMIT_S) as worker:
            for slot, (subject, path) in enumerate(zip(subjects, paths, strict=True)):
                bar.advance(0, note="loading a network")
                worker.load(subject, slot=slot, path=path)
            for round_index in range(num_rounds):
                for slot in (0, 1) if round_index % 2 == 0 else (1, 0):
                    times_ms[slot].append(worker.sample(slot)[0])
                    bar.advance(1, note=edit.title)
    return EditResult(edit=edit, before_ms=tuple(times_ms[0]), after_ms=tuple(times_ms[1]))


def _at(arch: ArchConfig, latent: int) -> ArchConfig:
    return dataclasses.replace(arch, sample_size=latent)


def _page(results: Sequence[EditResult], device: Device, *, latent: int, num_rounds: int) -> str:
    command = f"python -m benchmarks.snapgen_ladder_host --device {device.name} --latent {latent} --rounds {num_rounds}"
    latents = tuple(dict.fromkeys((latent, PUBLISHED_LATENT)))
    macs_titles = " | ".join(f"macs at {side}" for side in latents)
    lines = [
        f"# SnapGen's ablation on this machine, at {latent} x {latent} latents",
        "",
        *provenance(device, command=command),
        f"- {num_rounds} rounds, before and after the edit in turn; median ratio, 95 % bootstrap interval",
        "- phone: iPhone 15 Pro, 1024 px (128 x 128 latents), published in arXiv:2412.09619, Table 1",
        "- formula: `python -m profilers.calibrate`, an estimate that was fitted on the published column",
        "",
        f"| edit | before, ms | after, ms | here | {macs_titles} | phone | formula (estimate) |",
        "|---|---|---|---|---|---|" + "---|" * len(latents),
        *(_table_line(result, latents) for result in results),
        "",
        *map(_verdict, results),
        "",
        *_what_differs(device, latent),
        "",
    ]
    return "\n".join(lines)


def _what_differs(device: Device, latent: int) -> list[str]:
    precision = f"What differs besides the hardware: this machine computes in {device.precision}"
    if latent == PUBLISHED_LATENT:
        return [f"{precision}, the phone in fp16."]
    return [
        f"{precision} at {latent} x {latent}, the",
        "phone in fp16 at 128 x 128. Self-attention grows with the fourth power of the side, everything else with its",
        "square, so at a smaller side an edit of self-attention is worth less; the two columns of macs show how much.",
    ]


def _table_line(result: EditResult, latents: Sequence[int]) -> str:
    edit = result.edit
    low, high = result.interval_percent
    macs = " | ".join(f"{_macs_percent(edit, latent):+.1f} %" for latent in latents)
    return (
        f"| {edit.title} | {statistics.median(result.before_ms):.1f} | {statistics.median(result.after_ms):.1f} "
        f"| {result.change_percent:+.1f} % ({low:+.1f} to {high:+.1f}) | {macs} "
        f"| {_percent_text(edit.published_percent)} | {_formula_percent(edit):+.1f} % |"
    )


def _verdict(result: EditResult) -> str:
    edit = result.edit
    if edit.published_percent is None:
        return f"- {edit.title}: {result.change_percent:+.1f} % here; the paper gives no latency."
    points = result.change_percent - edit.published_percent
    low, high = result.interval_percent
    if points > 0:
        verdict = f"{points:.1f} points less is saved here than on the phone"
        verdict += ", and the edit costs time" if low > 0 else ""
    else:
        verdict = f"{-points:.1f} points more is saved here than on the phone"
    doubt = "" if low * high > 0 else "; the interval holds zero, so not even the sign is known"
    return f"- {edit.title}: {verdict}{doubt}."


def _macs_percent(edit: Edit, latent: int | None = None) -> float:
    before, after = (_at(arch, latent or arch.sample_size) for arch in (edit.before, edit.after))
    return 100 * (count(after).macs / count(before).macs - 1)


def _formula_percent(edit: Edit) -> float:
    before_ms, after_ms = (
        estimated_latency_ms(PHONE, *block_specs(_at(arch, PUBLISHED_LATENT))) for arch in (edit.before, edit.after)
    )
    return 100 * (after_ms / before_ms - 1)


def _percent_text(percent: float | None) -> str:
    return "not given" if percent is None else f"{percent:+.0f} %"


def _json_row(result: EditResult) -> dict[str, object]:
    edit = result.edit
    return {
        "title": edit.title,
        "before_arch_id": edit.before.arch_id,
        "after_arch_id": edit.after.arch_id,
        "before_ms": result.before_ms,
        "after_ms": result.after_ms,
        "change_percent": result.change_percent,
        "interval_percent": result.interval_percent,
        "macs_percent": _macs_percent(edit),
        "published_percent": edit.published_percent,
        "formula_percent": _formula_percent(edit),
        "formula_is_estimate": True,
    }


if __name__ == "__main__":
    command_line.run(measure_ladder, LadderOptions, prog="benchmarks.snapgen_ladder_host")
