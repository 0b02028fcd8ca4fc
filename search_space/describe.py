"""`python -m search_space.describe ARCH`: what an architecture is made of and what it costs on paper."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from search_space.arch import ArchConfig, canonical
from search_space.arch_json import arch_from_json
from search_space.command_line import print_json, run
from search_space.counts import Counts, count, count_block
from search_space.diffusers_config import from_diffusers_config
from search_space.errors import UsageError
from search_space.references import REFERENCES
from search_space.specs import spec_key
from search_space.walk import PlacedBlock, walk

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Options:
    """Describe one architecture: its blocks, parameters and multiply-accumulates."""

    arch: Annotated[str, tyro.conf.Positional]
    """A reference's name (sd15, sdxl, snapgen_t2i, ...), an architecture's JSON, or a diffusers config.json."""
    latent: int = 0
    """Side of the latent; 0: the architecture's own."""
    text_tokens: int = 0
    """Text tokens; 0: the architecture's own."""
    json: bool = False
    """Print one JSON object with every block."""
    config: bool = False
    """Print the architecture's own JSON, to start an architecture from."""


def describe(options: Options) -> None:
    """Prints the description that the options ask for."""
    arch = read_arch(options.arch)
    if options.latent:
        arch = dataclasses.replace(arch, sample_size=options.latent)
    if options.text_tokens:
        arch = dataclasses.replace(arch, context_length=options.text_tokens)
    arch = canonical(arch)
    if options.config:
        print(arch.to_json(indent=2))
    elif options.json:
        print_json(description(arch))
    else:
        _print_tables(arch)


def read_arch(text: str) -> ArchConfig:
    """An architecture from a reference's name, a file of our JSON, a diffusers config.json or the folder it is in.

    Raises:
        UsageError: It is none of these.
    """
    if text in REFERENCES:
        return REFERENCES[text]()
    path = Path(text)
    if path.is_dir():
        path = path / "config.json"
    try:
        content = path.read_bytes()
    except OSError:
        raise UsageError(
            f"{text!r} is neither a reference architecture nor a file that can be read", allowed=", ".join(REFERENCES)
        ) from None
    config = _diffusers_config(content)
    return from_diffusers_config(config) if config is not None else arch_from_json(content)


def description(arch: ArchConfig) -> dict[str, Any]:
    """The totals and every block of an architecture, as plain data."""
    blocks = walk(arch)
    totals = count(arch)
    return {
        "arch_id": arch.arch_id,
        "num_params": totals.num_params,
        "macs": totals.macs,
        "weight_bytes": totals.weight_bytes,
        "num_blocks": len(blocks),
        "num_distinct_blocks": len({spec_key(block.spec) for block in blocks}),
        "blocks": [_describe_block(block) for block in blocks],
    }


def _describe_block(block: PlacedBlock) -> dict[str, Any]:
    costs = dataclasses.asdict(count_block(block.spec))
    return {"name": block.name, "kind": block.spec.kind, "spec": dataclasses.asdict(block.spec), **costs}


def _diffusers_config(content: bytes) -> Mapping[str, Any] | None:
    """The parsed file if it is a diffusers config; ours has no `_class_name`."""
    try:
        config = json.loads(content)
    except (ValueError, RecursionError):
        return None  # `arch_from_json` says what is wrong with it
    return config if isinstance(config, dict) and "_class_name" in config else None


def _print_tables(arch: ArchConfig) -> None:
    from rich.console import Console

    totals = count(arch)
    console = Console(width=None if Console().is_terminal else 110, highlight=False)
    console.print(_blocks_table(arch, totals))
    size = arch.sample_size
    console.print(
        f"architecture {arch.arch_id}: {totals.num_params:,} parameters ({totals.weight_bytes / 2**20:,.0f} MiB in"
        f" float32), {totals.macs / 1e9:,.2f} GMACs for a {size} x {size} latent and {arch.context_length} text tokens"
    )


def _blocks_table(arch: ArchConfig, totals: Counts) -> "Table":
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title, side in (("block", "left"), ("kind", "left"), ("channels", "right"), ("map", "right")):
        table.add_column(title, justify=side)  # type: ignore[arg-type]
    for title in ("parameters", "MMACs", "share"):
        table.add_column(title, justify="right")
    part = ""
    for block in walk(arch):
        if part and _part(block.name) != part:
            table.add_section()
        part = _part(block.name)
        costs, fields = count_block(block.spec), dataclasses.asdict(block.spec)
        channels = fields.get("out_channels") or fields.get("channels") or fields.get("out_width")
        table.add_row(
            block.name,
            block.spec.kind,
            str(channels),
            f"{fields['size']}x{fields['size']}" if "size" in fields else "",
            f"{costs.num_params:,}",
            f"{costs.macs / 1e6:,.1f}",
            f"{costs.macs / totals.macs:.1%}",
        )
    return table


def _part(name: str) -> str:
    """What a block's row is grouped by: its stage, the middle, or what is outside of them."""
    stage, _, _ = name.partition(".resnets")
    return stage.partition(".attentions")[0].partition(".downsamplers")[0].partition(".upsamplers")[0]


if __name__ == "__main__":
    run(describe, Options, prog="search_space.describe")
