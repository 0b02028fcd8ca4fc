"""The latency of a whole network as the sum of its blocks, with an interval and a breakdown. Imports no torch.

    estimate(arch, table, device).latency_ms

A sum is an estimate, never a measurement; `python -m profilers.check` says how far it is off and stores a correction,
which is used from then on for networks of the same search space: of others it says nothing. A block that the table
does not hold is an error that names it: a zero in its place would make the search love it. Only where it is asked for,
a guess from measured blocks like it takes its place, and says so.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from profilers.block_places import FEW_OF_A_KIND
from profilers.correction import Correction
from profilers.device import Device
from profilers.finding_device import how_to_measure
from profilers.interpolation import Interpolation, Interpolator
from profilers.latency_record import LatencyRecord
from profilers.latency_table import LatencyTable
from profilers.roofline.calibration import ROOFLINE, stored_calibration
from profilers.subject import Subject
from search_space.arch import ArchConfig
from search_space.errors import UsageError
from search_space.space import SearchSpace, contains, reachable_specs
from search_space.spaces import search_space
from search_space.specs import BlockSpec, spec_key
from search_space.walk import PlacedBlock, block_specs, walk

_NORMAL_95 = 1.96


class MissingLatencyError(UsageError):
    """There is no latency of a block of the network."""


class CannotRunError(MissingLatencyError):
    """The device was asked to run a block of the network and could not: no other campaign is going to change that."""


class DoesNotFitError(CannotRunError):
    """A block of the network needs more memory than the device had free."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockLatency:
    """One block's share of an estimate."""

    name: str
    """Path of the block's module."""
    kind: str
    """Kind of its spec."""
    latency_ms: float
    """Its measured median, corrected if the device has a correction."""
    is_interpolated: bool = False
    """Whether nobody measured it, so that it is guessed from blocks like it."""


@dataclass(frozen=True, kw_only=True)
class LatencyEstimate:
    """How long one network should take on one device."""

    latency_ms: float
    """Sum of the blocks."""
    low_ms: float
    """Lower end of the 95 % interval."""
    high_ms: float
    """Upper end of the 95 % interval."""
    blocks: tuple[BlockLatency, ...]
    """Every block in the order in which they run; they sum to `latency_ms`."""
    correction: Correction | None
    """What was learnt from whole networks and is in every number here; None without one."""
    interpolated: Mapping[BlockSpec, Interpolation]
    """The blocks that nobody measured, with what they were guessed from."""
    transferred_from: Device | None
    """The device whose blocks these are, where they are not the device's own."""
    is_estimate: bool
    """Whether the blocks' own milliseconds come from a formula instead of a clock."""

    @property
    def relative_half_width(self) -> float:
        """Half the 95 % interval, as a share of the latency."""
        return (self.high_ms - self.low_ms) / 2 / self.latency_ms

    @property
    def labels(self) -> tuple[str, ...]:
        """What has to stand beside these milliseconds wherever they are shown, in words."""
        labels = ["formula, never measured"] if self.is_estimate else []
        if self.transferred_from is not None:
            labels.append(f"transferred from {self.transferred_from.name}")
        if self.interpolated:
            worst = max(guess.error_percent for guess in self.interpolated.values())
            labels.append(f"{len(self.interpolated)} distinct blocks interpolated, +-{worst:.0f} % each")
        return tuple(labels)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class KnownBlock:
    """What stands for one block in every sum: its share of a network and how sure it is. Counted by identity."""

    latency_ms: float
    """Corrected."""
    below_ms: float
    """From the lower end of its 95 % interval up to `latency_ms`."""
    above_ms: float
    """From `latency_ms` up to the upper end."""
    guess: Interpolation | None = None
    """What it was guessed from, where nobody measured it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockLatencies:
    """What one device's table says of some blocks, read once; sums of any number of networks follow without it."""

    device: Device
    """The device of the estimates."""
    source: Device
    """The device whose blocks these are: `device`, or for a transfer another one."""
    known: Mapping[BlockSpec, KnownBlock]
    """Every block that has a latency."""
    failed: Mapping[BlockSpec, LatencyRecord]
    """Blocks that the device was seen not to run."""
    correction: Correction | None
    """What is in every number of `known`; it holds for networks of its search space."""
    is_guessing: bool = False
    """Whether blocks that nobody measured were guessed where there are enough like them."""

    @classmethod
    def read(
        cls,
        specs: Iterable[BlockSpec],
        table: LatencyTable,
        device: Device,
        *,
        correction: Correction | None = None,
        interpolate: bool = False,
        source: Device | None = None,
    ) -> Self:
        """Reads the blocks from the table.

        Args:
            specs: The blocks; one that the table lacks is an error when a network needs it, not here.
            table: The latency table.
            device: The device of the estimates.
            correction: What whole networks of the same search space taught; None for plain sums of medians.
            interpolate: Whether missing blocks are guessed from measured ones like them.
            source: Another device, whose blocks were fitted to networks of `device` by `profilers.transfer`.
        """
        by_subject = {Subject.of_block(spec): spec for spec in specs}
        found = table.records(source or device, by_subject)
        records = {by_subject[subject]: record for subject, record in found.items()}
        measured = {spec: record for spec, record in records.items() if record.has_latency}
        failed = {spec: record for spec, record in records.items() if record.status in ("failed", "does_not_fit")}
        missing = [spec for spec in by_subject.values() if spec not in measured and spec not in failed]
        guesses: Mapping[BlockSpec, Interpolation] = {}
        if interpolate and missing:
            guesses = Interpolator(table.medians_ms(source or device)).interpolate_all(missing)
        known = {spec: _measured(spec, record, correction) for spec, record in measured.items()}
        known |= {spec: _guessed(spec, guess, correction) for spec, guess in guesses.items()}
        return cls(
            device=device,
            source=source or device,
            known=known,
            failed=failed,
            correction=correction,
            is_guessing=interpolate,
        )

    @classmethod
    def of_space(cls, space: SearchSpace, table: LatencyTable, device: Device, *, interpolate: bool = False) -> Self:
        """Reads every block of a search space, and what whole networks of it taught."""
        correction = space_correction(space, table, device, interpolate=interpolate)
        return cls.read(reachable_specs(space), table, device, correction=correction, interpolate=interpolate)

    def estimate(self, arch: ArchConfig) -> LatencyEstimate:
        """Sums the blocks of a network.

        Raises:
            MissingLatencyError: A block of it is not among the known ones.
        """
        return self.estimate_placed(walk(arch))

    def estimate_placed(self, placed: Sequence[PlacedBlock]) -> LatencyEstimate:
        """The same of a network that was walked already."""
        try:
            known = [self.known[block.spec] for block in placed]
        except KeyError:
            raise self.missing_error(placed) from None
        latency_ms = math.fsum(block.latency_ms for block in known)
        unexplained_ms = self._unexplained_half_width * latency_ms
        below_ms, above_ms = (math.hypot(unexplained_ms, own_ms) for own_ms in _own_spread_ms(known))
        pairs = list(zip(placed, known, strict=True))
        return LatencyEstimate(
            latency_ms=latency_ms,
            low_ms=latency_ms - below_ms,
            high_ms=latency_ms + above_ms,
            blocks=tuple(
                BlockLatency(
                    name=place.name,
                    kind=place.spec.kind,
                    latency_ms=block.latency_ms,
                    is_interpolated=block.guess is not None,
                )
                for place, block in pairs
            ),
            correction=self.correction,
            interpolated={place.spec: block.guess for place, block in pairs if block.guess is not None},
            transferred_from=None if self.source == self.device else self.source,
            is_estimate=self.source.is_estimate or self.device.is_estimate,
        )

    def own_half_width(self, arch: ArchConfig) -> float:
        """Half the 95 % interval of a network by its blocks' own intervals and nothing else, as a share of its latency.

        Raises:
            MissingLatencyError: A block of it is not among the known ones.
        """
        known = [self.known[spec] for spec, _ in self.medians(arch)]
        return sum(_own_spread_ms(known)) / 2 / math.fsum(block.latency_ms for block in known)

    @property
    def _unexplained_half_width(self) -> float:
        """How far whole networks are off beside what their blocks' own intervals say, as a share of their latency."""
        fitted = self.correction.unexplained_half_width if self.correction else 0.0
        return math.hypot(fitted, _formula_half_width(self.device))

    def medians(self, arch: ArchConfig) -> list[tuple[BlockSpec, float]]:
        """Every block of a network with its milliseconds.

        Raises:
            MissingLatencyError: A block of it is not among the known ones.
        """
        specs = block_specs(arch)
        if not self.known.keys() >= set(specs):
            raise self.missing_error(walk(arch))
        return [(spec, self.known[spec].latency_ms) for spec in specs]

    def missing_error(self, placed: Sequence[PlacedBlock]) -> MissingLatencyError:
        """Names the first block of the network that is not known, and what to do about it."""
        block = next(block for block in placed if block.spec not in self.known)
        name, key, source = block.name, spec_key(block.spec), self.source
        if block.spec in self.failed:
            record = self.failed[block.spec]
            error, verb = (DoesNotFitError, "hold") if record.status == "does_not_fit" else (CannotRunError, "run")
            return error(
                f"{source.name} could not {verb} {name} {key}: {record.reason}",
                fix=how_to_measure(source, again=True),
            )
        too_few = f", and fewer than {FEW_OF_A_KIND} blocks of its kind to guess it from" if self.is_guessing else ""
        return MissingLatencyError(
            f"no latency of {name} {key} on {source.name} ({source.device_id}){too_few}",
            fix=how_to_measure(source, again=False),
        )


def estimate(
    arch: ArchConfig,
    table: LatencyTable,
    device: Device,
    *,
    interpolate: bool = False,
    source: Device | None = None,
) -> LatencyEstimate:
    """Sums the blocks of one network, corrected if it is of a search space whose networks were checked on the device.

    The arguments are those of `BlockLatencies.read`. The interval holds the blocks' own intervals, as independent
    errors, what their correction left unexplained on whole networks, and how wrong guessed blocks are; of a phone that
    is a formula, how wrong the formula is.

    Raises:
        MissingLatencyError: The table lacks a block, or the device could not run one.
        UsageError: Nothing that holds for the network was transferred from `source` to `device`.
    """
    placed = walk(arch)
    specs = dict.fromkeys(block.spec for block in placed)
    corrections = table.corrections(device, source=source, interpolate=interpolate)
    correction = next((found for space, found in corrections.items() if _is_of(arch, space)), None)
    if correction is not None and correction.num_guessed:
        correction = space_correction(search_space(correction.space), table, device, interpolate=interpolate)
    if source is not None and correction is None:
        only = f" for this network, only for those of {', '.join(corrections)}" if corrections else ""
        raise UsageError(
            f"nothing was transferred from {source.name} to {device.name}{only}",
            fix=f"python -m profilers.transfer --from {source.name} --to {device.name}",
        )
    blocks = BlockLatencies.read(specs, table, device, correction=correction, interpolate=interpolate, source=source)
    return blocks.estimate_placed(placed)


def space_correction(
    space: SearchSpace, table: LatencyTable, device: Device, *, interpolate: bool
) -> Correction | None:
    """What sums of the space's blocks are corrected by.

    A correction that was fitted on guessed blocks has learnt their errors, so it is left out once no block is missing.
    """
    correction = table.corrections(device, interpolate=interpolate).get(space.name)
    if correction is not None and correction.num_guessed and not table.coverage(reachable_specs(space), device).missing:
        return None
    return correction


def _is_of(arch: ArchConfig, space: str) -> bool:
    """Whether the architecture is of the space that has this name."""
    try:
        return contains(search_space(space), arch)
    except UsageError:  # a space of somebody's own, which has no name here
        return False


def _own_spread_ms(known: Sequence[KnownBlock]) -> tuple[float, float]:
    """How far a sum may be below and above what it says by the intervals of its blocks: a block repeated errs alike."""
    num_uses = Counter(known)
    below_ms = math.hypot(*(num * block.below_ms for block, num in num_uses.items()))
    above_ms = math.hypot(*(num * block.above_ms for block, num in num_uses.items()))
    return below_ms, above_ms


def _formula_half_width(device: Device) -> float:
    """What is not known of a phone that is a formula, however well its sums agree with the same formula."""
    return stored_calibration().relative_half_width if device.backend == ROOFLINE else 0.0


def _measured(spec: BlockSpec, record: LatencyRecord, correction: Correction | None) -> KnownBlock:
    return _known_block(spec, record.low_ms, record.median_ms, record.high_ms, correction)


def _guessed(spec: BlockSpec, guess: Interpolation, correction: Correction | None) -> KnownBlock:
    factor = (1 + guess.error_percent / 100) ** _NORMAL_95
    low_ms, high_ms = guess.latency_ms / factor, guess.latency_ms * factor
    return _known_block(spec, low_ms, guess.latency_ms, high_ms, correction, guess=guess)


def _known_block(
    spec: BlockSpec,
    low_ms: float,
    median_ms: float,
    high_ms: float,
    correction: Correction | None,
    *,
    guess: Interpolation | None = None,
) -> KnownBlock:
    if correction is not None:
        low_ms, median_ms, high_ms = (correction.corrected_ms(spec, value) for value in (low_ms, median_ms, high_ms))
    return KnownBlock(latency_ms=median_ms, below_ms=median_ms - low_ms, above_ms=high_ms - median_ms, guess=guess)
