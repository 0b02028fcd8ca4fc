"""`python -m profilers.transfer --from DEVICE --to DEVICE`: a new device from another's table and ten networks."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from profilers.defaults import DEFAULT_DEVICE, DEFAULT_STORAGE
from search_space import command_line
from search_space.errors import UsageError

MIN_NETWORKS = 5  # fewer, each left out in turn, say nothing
MIN_VALIDATE = 2  # a spread needs two


@dataclass(frozen=True, kw_only=True)
class TransferOptions:
    """Predicts a device from the measured blocks of another one and a few whole networks measured on it."""

    source: Annotated[str, tyro.conf.arg(name="from")] = DEFAULT_DEVICE
    """The device whose blocks are measured."""
    target: Annotated[str, tyro.conf.arg(name="to")]
    """The device to predict: one that is here to measure networks, or one of the table that measured some elsewhere."""
    networks: int = 10
    """How many networks to fit, chosen to differ as much as they can."""
    validate: int = 0
    """How many more networks to judge on; 0: judge each of the fitted, left out in turn."""
    space: str = "tiny"
    """Search space: tiny, mid or snapgen."""
    storage: str = DEFAULT_STORAGE
    """Database URL: sqlite:///file.db or postgresql://user:password@host/database."""
    seed: int = 0
    """The first candidate's seed; the others follow."""
    out: str = ""
    """Write the report as Markdown to this file."""
    json: bool = False
    """Print the report as one JSON line on stdout."""

    def __post_init__(self) -> None:
        command_line.require_folder_of(self.out, option="--out")
        if self.networks < MIN_NETWORKS:
            raise UsageError(f"--networks {self.networks} was given", allowed=f"at least {MIN_NETWORKS}")
        if self.validate and self.validate < MIN_VALIDATE:
            raise UsageError(f"--validate {self.validate} was given", allowed=f"0, or at least {MIN_VALIDATE}")


def transfer(options: TransferOptions) -> None:
    """The command; what it needs is imported when it runs, so that `--help` comes at once."""
    from profilers.storage import open_engine
    from profilers.transferring import json_document, markdown, text, transfer_space
    from search_space.spaces import search_space

    report = transfer_space(
        search_space(options.space),
        options.source,
        options.target,
        open_engine(options.storage),
        num_networks=options.networks,
        num_validate=options.validate,
        seed=options.seed,
    )
    print(text(report), file=sys.stderr)
    if options.out:
        command = f"python -m profilers.transfer --from {options.source} --to {options.target}"
        command += f" --networks {options.networks} --validate {options.validate} --space {options.space}"
        command += f" --seed {options.seed}" if options.seed else ""
        Path(options.out).write_text(markdown(report, command=command))
    if options.json:
        command_line.print_json(json_document(report))


if __name__ == "__main__":
    command_line.run(transfer, TransferOptions, prog="profilers.transfer")
