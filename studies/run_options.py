"""The options of `python -m studies.run`, by themselves, so that `--help` opens at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

Until = Literal["search", "train", "export"]
"""The last step of a run."""

DEFAULT_RECIPE = "tiny_on_cpu"


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Finds the best architecture for a device, trains it and exports it.

    To resume, type the same command again.
    """

    recipe: Annotated[str, tyro.conf.Positional] = DEFAULT_RECIPE
    """What to run: tiny_on_cpu, smoke or snapgen_phone."""
    trials: int | None = None
    """Architectures to evaluate over the study's life; the recipe's number by default."""
    storage: str | None = None
    """Database URL: sqlite:///file.db or postgresql://user:password@host/database; a file in --out by default."""
    device: str | None = None
    """Whose latency counts: a device as profilers.measure takes it, such as host-onnxruntime:threads=2, or the name or
    the id of one that measured itself elsewhere, such as a phone that profilers.collect accepted."""
    interpolate: bool = False
    """Guess the blocks that the latency table lacks from measured ones like them, in place of measuring every block:
    after profilers.measure --budget, or for a phone that measured some."""
    data: str | None = None
    """What to learn: scenes, digits, or a folder of captioned images."""
    max_latency_ms: float | None = None
    """The latency budget in milliseconds, in place of the recipe's."""
    out: Path = Path("workspace")
    """Folder for the database, the teacher, the trained winner and its export."""
    study: str | None = None
    """Name of the study; by default the recipe's, with the data and the device where they are others than its own."""
    workers: int = 1
    """Processes that evaluate architectures at the same time."""
    ray: str | None = None
    """Evaluate with Ray Tune: `--ray` on this machine, `--ray ADDRESS` on a cluster."""
    until: Until = "export"
    """The last step: search, train or export."""
    dry_run: bool = False
    """Say what would be done, and do nothing."""
    json: bool = False
    """Print the outcome as one JSON line on stdout."""
