"""Measuring as much of a space as a time allows, those blocks first that say most of all others.

A space at the scale of a phone has ten thousand blocks, and to run each of them once takes an hour. A few hundred that
are as unlike one another as possible tell nearly as much: `profilers.interpolation` guesses the others from them, and
says how wrong such guesses are. The same call once more goes on where this one stopped.
"""

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy
from sqlalchemy import Engine

from profilers.backends.registry import open_backend
from profilers.block_places import telling_order
from profilers.campaign import run_campaign
from profilers.device import Device
from profilers.interpolation import Interpolator
from profilers.latency_record import Coverage
from profilers.latency_table import LatencyTable
from profilers.protocol import BUDGET_PROTOCOL, Protocol
from profilers.subject import Subject
from search_space.space import SearchSpace, reachable_specs
from search_space.specs import BlockSpec

PORTION_SIZE = 48
"""Blocks that are prepared and measured together; two processes prepare so many."""
_USABLE_SHARE = 0.95  # of a budget; the rest is for a portion slower than all before it, and for guessing other blocks


def measure_within(
    space: SearchSpace, device_name: str, engine: Engine, *, budget_s: float, protocol: Protocol | None = None
) -> Coverage:
    """Measures blocks that the table lacks until the time is up, and returns what it then holds of the space.

    The first portion is measured however long it takes. Later ones are as large as fits into the time that is left, at
    the slowest pace so far; a twentieth of the time is kept back.

    Args:
        space: The search space.
        device_name: A name of `profilers.backends.registry.DEVICE_NAMES`.
        engine: From `profilers.storage.open_engine`.
        budget_s: Seconds.
        protocol: The measuring rules, of which a clock's device keeps few passes; few rounds by default.
    """
    start_s = time.monotonic()
    backend, table = open_backend(device_name), LatencyTable(engine)
    if not backend.device.is_estimate:
        protocol = protocol.in_short_time() if protocol else BUDGET_PROTOCOL
    specs = reachable_specs(space)
    coverage = table.coverage(specs, backend.device)
    begun = _begun(coverage.missing, table, backend.device)
    untouched = [spec for spec in coverage.missing if spec not in begun]
    left_unsettled = table.unsettled(backend.device, "block")
    if left_unsettled and not coverage.missing:
        run_campaign(list(left_unsettled), backend, table, protocol=protocol)
    order = chain(begun, telling_order(untouched, known=[*coverage.known, *begun]))
    num_measured, slowest_s = 0, 0.0
    portion = list(islice(order, PORTION_SIZE))
    while portion:
        portion_start_s = time.monotonic()
        description = f"{device_name}: blocks {num_measured + 1} to {num_measured + len(portion)}"
        subjects = [Subject.of_block(spec) for spec in portion]
        run_campaign(subjects, backend, table, description=description, protocol=protocol)
        num_measured += len(portion)
        now_s = time.monotonic()
        slowest_s = max(slowest_s, (now_s - portion_start_s) / len(portion))
        num_fitting = int((start_s + _USABLE_SHARE * budget_s - now_s) / slowest_s)
        portion = list(islice(order, max(0, min(num_fitting, PORTION_SIZE))))
    return table.coverage(specs, backend.device)


@dataclass(frozen=True, kw_only=True)
class Guessable:
    """What can be said of the blocks that were not measured."""

    num_guessed: int
    """Blocks that can be guessed from those that were."""
    num_unknown: int
    """Blocks of whose kind too few were measured."""
    error_percent: float
    """Root mean square of the guesses' stated errors; 0 without guesses."""

    @classmethod
    def of_missing(cls, missing: Collection[BlockSpec], table: LatencyTable, device: Device) -> "Guessable":
        """Guesses every missing block from what the table holds of the device."""
        guesses = Interpolator(table.medians_ms(device)).interpolate_all(missing)
        errors = [guess.error_percent for guess in guesses.values()]
        return cls(
            num_guessed=len(errors),
            num_unknown=len(missing) - len(errors),
            error_percent=math.sqrt(numpy.mean(numpy.square(errors))) if errors else 0.0,
        )

    def describe(self) -> str:
        """One line for a terminal."""
        text = f"{self.num_guessed} more can be guessed within about {self.error_percent:.0f} % each"
        text += " (profilers.estimate --interpolate)"
        return text + (f", {self.num_unknown} cannot" if self.num_unknown else "")

    def to_document(self) -> dict[str, float]:
        """For programs."""
        return {"num_guessed": self.num_guessed, "guess_error_percent": round(self.error_percent, 2)}


def _begun(specs: Sequence[BlockSpec], table: LatencyTable, device: Device) -> dict[BlockSpec, None]:
    """Blocks, in order, that have samples, but not enough: a campaign was killed over them."""
    subjects = {spec: Subject.of_block(spec) for spec in specs}
    records = table.records(device, subjects.values())
    return dict.fromkeys(spec for spec, subject in subjects.items() if subject in records)
