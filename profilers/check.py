"""`python -m profilers.check`: how far the table's sums are from whole networks that are really measured."""

import sys
from dataclasses import dataclass
from pathlib import Path

from profilers.defaults import DEFAULT_DEVICE, DEFAULT_STORAGE
from search_space import command_line
from search_space.errors import UsageError

MIN_NETWORKS = 5  # a line through fewer, leave-one-out, says nothing
MIN_JUDGES = 2  # a spread needs two


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """Compares the latency table's estimates with whole networks that are really measured."""

    networks: int = 30
    """How many random architectures."""
    fit: int = 0
    """Fit on the first so many and judge on all others, unseen; 0: fit on all, judge each left out in turn."""
    space: str = "tiny"
    """Search space: tiny, mid or snapgen."""
    device: str = DEFAULT_DEVICE
    """Device, with its options if any: host-onnxruntime, host-openvino:threads=2, exact...; or one of the table."""
    storage: str = DEFAULT_STORAGE
    """Database URL: sqlite:///file.db or postgresql://user:password@host/database."""
    max_rounds: int = 0
    """Samples of everything that is not known to +-1 % before; 0: 50 (8 of a block with --budget, 2 of a formula)."""
    budget: str = ""
    """Measure blocks for so long, 90s, 60m or 2h, as profilers.measure does, and guess the others."""
    interpolate: bool = False
    """Guess blocks that nobody measured, and measure none."""
    seed: int = 0
    """The first architecture's seed; the others follow."""
    out: str = ""
    """Write the report as Markdown to this file."""
    json: bool = False
    """Print the report as one JSON line on stdout."""

    def __post_init__(self) -> None:
        command_line.require_folder_of(self.out, option="--out")
        if self.networks < MIN_NETWORKS:
            raise UsageError(f"--networks {self.networks} was given", allowed=f"at least {MIN_NETWORKS}")
        if self.fit and not MIN_NETWORKS <= self.fit <= self.networks - MIN_JUDGES:
            raise UsageError(
                f"--fit {self.fit} of {self.networks} networks was given",
                allowed=f"at least {MIN_NETWORKS}, with at least {MIN_JUDGES} networks left to judge",
            )
        if self.budget and self.interpolate:
            raise UsageError("--budget and --interpolate were given", allowed="one of them: a budget guesses as well")


def check(options: CheckOptions) -> None:
    """The command; what it needs is imported when it runs, so that `--help` comes at once."""
    from profilers.check_report import json_document, markdown, text
    from profilers.checking import check_space
    from profilers.durations import duration_s_of
    from profilers.protocol import protocol_of
    from profilers.storage import open_engine
    from search_space.spaces import search_space

    report = check_space(
        search_space(options.space),
        options.device,
        open_engine(options.storage),
        num_networks=options.networks,
        num_fit=options.fit or None,
        budget_s=duration_s_of(options.budget) if options.budget else None,
        interpolate=options.interpolate,
        seed=options.seed,
        protocol=protocol_of(options.max_rounds),
    )
    print(text(report), file=sys.stderr)
    if options.out:
        chosen = f" --fit {options.fit}" if options.fit else ""
        chosen += f" --max-rounds {options.max_rounds}" if options.max_rounds else ""
        chosen += f" --budget {options.budget}" if options.budget else ""
        chosen += " --interpolate" if options.interpolate else ""
        chosen += f" --seed {options.seed}" if options.seed else ""
        command = f"python -m profilers.check --networks {options.networks}{chosen} --space {options.space}"
        Path(options.out).write_text(markdown(report, command=f"{command} --device {options.device}"))
    if options.json:
        command_line.print_json(json_document(report))


if __name__ == "__main__":
    command_line.run(check, CheckOptions, prog="profilers.check")
