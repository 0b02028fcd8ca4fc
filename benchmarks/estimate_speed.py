"""`python -m benchmarks.estimate_speed`: how fast latencies are estimated, one by one and by the hundred thousand.

The milliseconds that are added up come from the formula of the device `exact`, which takes no time to fill a table
with; adding them up is the same work for any device. Times are medians, or one pass where a pass is long. A machine
that does other work as well shows larger ones: the page states the load.
"""

import functools
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from profilers.backends.exact import ExactBackend, exact_latency_ms
from profilers.batch_estimate import LatencyModel, estimate_batch
from profilers.campaign import run_campaign
from profilers.checking import network_features_of
from profilers.correction_fit import WholeNetworks, fit_correction
from profilers.device import host_hardware, host_operating_system
from profilers.encoding import SpaceEncoding
from profilers.environment import record_environment
from profilers.estimating import BlockLatencies, KnownBlock, estimate
from profilers.latency_table import LatencyTable
from profilers.storage import open_engine
from profilers.subject import Subject
from search_space import command_line
from search_space.arch import ArchConfig
from search_space.errors import UsageError
from search_space.space import SearchSpace, random_arch, reachable_specs
from search_space.spaces import SPACES
from search_space.walk import block_specs

ResultT = TypeVar("ResultT")

PAGE_PATH = Path(__file__).with_suffix(".md")
NUM_ONE_BY_ONE = 200
NUM_FROM_DATABASE = 20
MAX_ONE_S = 2e-3
MIN_BATCH_PER_S = 1e5


@dataclass(frozen=True, kw_only=True)
class SpeedOptions:
    """Times estimates of both search spaces and writes the page."""

    archs: int = 100_000
    """Architectures of a batch."""
    page: bool = True
    """Write the page beside this file."""
    json: bool = False
    """Print the result as one JSON line on stdout."""

    def __post_init__(self) -> None:
        if self.archs < 1:
            raise UsageError(f"--archs {self.archs} was given", allowed="at least 1")


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """One search space."""

    space: str
    """Its name."""
    num_blocks: float
    """Blocks of one architecture, mean."""
    database_s: float
    """One architecture, its blocks and its correction read from the database file."""
    one_s: float
    """One architecture that was never seen, blocks read before."""
    walked_per_s: float
    """A batch of any architectures: one walk each."""
    first_per_s: float
    """A batch of rows of decisions, of a model that is new."""
    later_per_s: float
    """Another batch of rows of decisions, of the same model."""
    sampled_per_s: float
    """Rows drawn uniformly from the space."""


def measure_speed(options: SpeedOptions) -> None:
    """Times everything, prints the table, writes the page."""
    results = [_speeds(space, options.archs) for space in SPACES.values()]
    page = _page(results, options)
    print(page)
    if options.page:
        PAGE_PATH.write_text(page)
    if options.json:
        command_line.print_json([vars(result) for result in results])


def _speeds(space: SearchSpace, num_archs: int) -> Speeds:
    archs = [random_arch(space, seed) for seed in range(NUM_ONE_BY_ONE)]
    blocks = _formula_blocks(space)
    model = LatencyModel(SpaceEncoding.of(space), blocks)
    sampling_s, codes = _timed(lambda: model.encoding.sample(num_archs, seed=0))
    first_s, _ = _timed(lambda: model.predict(codes))
    later = model.encoding.sample(num_archs, seed=1)
    model.predict(later)  # what only these have is learnt as well
    later_s, _ = _timed(lambda: model.predict(later))
    walked_s, _ = _timed(lambda: estimate_batch(archs, blocks))
    return Speeds(
        space=space.name,
        num_blocks=statistics.fmean(len(block_specs(arch)) for arch in archs),
        database_s=_database_s(space, archs[:NUM_FROM_DATABASE]),
        one_s=statistics.median(_timed(functools.partial(blocks.estimate, arch))[0] for arch in archs),
        walked_per_s=len(archs) / walked_s,
        first_per_s=num_archs / first_s,
        later_per_s=num_archs / later_s,
        sampled_per_s=num_archs / sampling_s,
    )


def _database_s(space: SearchSpace, archs: Sequence[ArchConfig]) -> float:
    """Each architecture once, from a file with the blocks of all of them and what whole networks taught."""
    device = ExactBackend().device
    with _database() as table:
        subjects = {Subject.of_block(spec) for arch in archs for spec in block_specs(arch)}
        run_campaign(sorted(subjects, key=lambda subject: subject.text), ExactBackend(), table)
        features, block_half_widths = network_features_of(archs, table, device)
        measured_ms = features[:, :-1].sum(axis=1)  # on this device networks take as long as their blocks
        networks = WholeNetworks(
            features=features, measured_ms=measured_ms, block_half_widths=block_half_widths, space=space.name
        )
        table.set_correction(device, fit_correction(networks))
        return statistics.median(_timed(functools.partial(estimate, arch, table, device))[0] for arch in archs)


@contextmanager
def _database() -> Iterator[LatencyTable]:
    with tempfile.TemporaryDirectory(prefix="snapnas-speed-") as folder:
        engine = open_engine(f"sqlite:///{folder}/table.db")
        yield LatencyTable(engine)
        engine.dispose()


def _formula_blocks(space: SearchSpace) -> BlockLatencies:
    device = ExactBackend().device
    known = {
        spec: KnownBlock(latency_ms=exact_latency_ms(spec), below_ms=0.0, above_ms=0.0)
        for spec in reachable_specs(space)
    }
    return BlockLatencies(device=device, source=device, known=known, failed={}, correction=None)


def _timed(action: Callable[[], ResultT]) -> tuple[float, ResultT]:
    start_s = time.perf_counter()
    result = action()
    return time.perf_counter() - start_s, result


def _page(results: Sequence[Speeds], options: SpeedOptions) -> str:
    environment = record_environment()
    is_kept = all(speeds.database_s <= MAX_ONE_S and speeds.later_per_s >= MIN_BATCH_PER_S for speeds in results)
    wanted = f"one within {1000 * MAX_ONE_S:g} ms from the file, {MIN_BATCH_PER_S:,.0f} rows per second"
    lines = [
        "# How fast latencies are estimated",
        "",
        f"- command: `python -m benchmarks.estimate_speed --archs {options.archs}`",
        f"- date: {environment.recorded_at}, commit {environment.commit or 'unknown'}",
        f"- hardware: {host_hardware()}, {host_operating_system()}, Python {platform.python_version()}",
        f"- load average at the end: {environment.load_average}",
        "",
        "| space | blocks | one, from the file | one | any, per s | new rows, per s | rows, per s | drawn, per s |",
        "|---|---|---|---|---|---|---|---|",
        *map(_table_line, results),
        "",
        f"Wanted: {wanted}; {'kept' if is_kept else 'NOT kept'} here.",
        "",
        "- **one, from the file**: an architecture whose blocks are read from SQLite for it alone, beside what whole",
        "  networks of its search space taught.",
        "- **one**: an architecture never seen before, with the space's blocks in memory, as in a search.",
        "- **any**: `estimate_batch`, architectures from anywhere, one walk each.",
        "- **new rows**: the first batch of a new `LatencyModel` over encoded decisions. It enters every number",
        "  that it looks up into its tables, each from one whole network that has it.",
        "- **rows**: another batch, once its numbers are entered.",
        "- **drawn**: `SpaceEncoding.sample`, uniform over the space.",
        "",
    ]
    return "\n".join(lines)


def _table_line(speeds: Speeds) -> str:
    return (
        f"| {speeds.space} | {speeds.num_blocks:.0f} | {1000 * speeds.database_s:.2f} ms "
        f"| {1000 * speeds.one_s:.2f} ms | {speeds.walked_per_s:,.0f} | {speeds.first_per_s:,.0f} "
        f"| {speeds.later_per_s:,.0f} | {speeds.sampled_per_s:,.0f} |"
    )


if __name__ == "__main__":
    command_line.run(measure_speed, SpeedOptions, prog="benchmarks.estimate_speed")
