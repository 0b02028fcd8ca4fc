"""The measuring protocol: every subject once a round, in a new random order each round, until all are known to +-1 %.

Measured one after another, the slow drift of a machine goes straight into the table (up to 6.5 % error of a sum);
interleaved at random it spreads over all blocks alike. What is left of it is seen by a sentinel, one fixed block
measured again and again: every sample is divided by the sentinel's drift around it, and a round in which the
sentinel moves by more than 3 % is flagged and taken again.

Samples are committed after every round. A campaign that is killed goes on where it stopped, because the samples that
the table already holds count.
"""

import bisect
import dataclasses
import json
import logging
import random
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from profilers.backends.abstract import AbstractBackend
from profilers.device import num_usable_cores
from profilers.environment import record_environment
from profilers.latency_table import LatencyTable
from profilers.measurement import Sample, measurement_of
from profilers.subject import Subject
from profilers.worker_client import SubjectError, Worker, WorkerDiedError
from search_space.arch_json import arch_from_json
from search_space.counts import count, weight_bytes
from search_space.progress import AbstractBar, progress
from search_space.specs import ResidualSpec, spec_from_key

logger = logging.getLogger(__name__)

SENTINEL = Subject.of_block(
    ResidualSpec(
        in_channels=64,
        skip_channels=0,
        hidden_channels=64,
        out_channels=64,
        size=16,
        time_width=256,
        convolution="full",
        kernel=3,
        norm_groups=32,
    )
)
_SENTINEL_SLOT = -1
_SAMPLES_PER_PROBE = 3  # of which the median counts
_MAX_DEATHS = 3  # of the measuring process, none of them the fault of one subject


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The rules of a campaign; stored with it."""

    min_rounds: int = 8
    """No subject is finished with fewer samples."""
    max_rounds: int = 20
    """A subject with this many steady samples is finished, stable or not."""
    max_total_rounds: int = 28
    """A subject with this many samples is finished, even if the machine was never steady."""
    sentinel_every: int = 16
    """Subjects between two looks at the sentinel."""
    num_calibration_probes: int = 60
    """Looks at the sentinel that set its reference, before a device's first campaign."""
    max_drift: float = 0.03
    """How far the sentinel may move within a round."""
    max_group_bytes: int = 256 * 2**20
    """Weights that are loaded at once; a runtime keeps about three copies of them."""
    time_limit_s: float = 120.0
    """For loading and warming up one subject, or one sample."""
    seed: int = 0
    """Of the random orders."""


NOISELESS_PROTOCOL = Protocol(
    min_rounds=2, max_rounds=2, max_total_rounds=2, num_calibration_probes=1, max_group_bytes=2**63
)
"""For a formula: it says the same every time, and loads no weights."""


def run_campaign(
    subjects: Sequence[Subject],
    backend: AbstractBackend,
    table: LatencyTable,
    *,
    description: str = "measuring",
    protocol: Protocol | None = None,
) -> None:
    """Measures the subjects and writes them to the table, each as measured, unstable or failed."""
    device = backend.device
    protocol = protocol or (Protocol() if backend.is_noisy else NOISELESS_PROTOCOL)
    shuffled = list(dict.fromkeys(subjects))
    random.Random(protocol.seed).shuffle(shuffled)  # equal blocks of one kind do not share one group
    table.add_device(device)
    environment = record_environment()
    if (environment.load_average or 0) > num_usable_cores() and not device.is_estimate:
        logger.warning(
            "the machine is busy (load %.1f on %d cores): long blocks will look slower than they are",
            environment.load_average,
            num_usable_cores(),
        )
    campaign_id = table.start_campaign(
        device, protocol=json.dumps(dataclasses.asdict(protocol)), environment=environment
    )
    for group in _groups(shuffled, protocol.max_group_bytes):
        _Group(group, backend, table, campaign_id=campaign_id, protocol=protocol).measure(description)
    table.finish_campaign(campaign_id, environment=record_environment())


def is_finished(samples: Sequence[Sample], protocol: Protocol) -> bool:
    """Whether a subject needs no more samples: its median is known to +-1 %, or it has had its chances."""
    num_steady = sum(not sample.is_flagged for sample in samples)
    if num_steady >= protocol.max_rounds or len(samples) >= protocol.max_total_rounds:
        return True
    return num_steady >= protocol.min_rounds and measurement_of(samples).is_stable


def local_sentinels_ms(probes_ms: Sequence[float], probe_positions: Sequence[int], *, num_samples: int) -> list[float]:
    """How slow the sentinel was around each sample of a round: the median of the two looks before and the two after.

    Args:
        probes_ms: The sentinel, at least once before the first sample and once after the last.
        probe_positions: How many samples had been taken at each of these looks, rising.
        num_samples: Samples of the round.
    """
    sentinels_ms = []
    for position in range(num_samples):
        following = bisect.bisect_right(probe_positions, position)  # the first look after this sample
        sentinels_ms.append(statistics.median(probes_ms[max(following - 2, 0) : following + 2]))
    return sentinels_ms


def has_moved(probes_ms: Sequence[float], protocol: Protocol) -> bool:
    """Whether the sentinel was slower in one half of a round than in the other by more than the rules allow."""
    middle = len(probes_ms) // 2
    first_ms, second_ms = statistics.median(probes_ms[:middle]), statistics.median(probes_ms[middle:])
    return abs(second_ms / first_ms - 1) > protocol.max_drift


def _groups(subjects: Sequence[Subject], max_group_bytes: int) -> Iterator[list[Subject]]:
    """The subjects in portions whose weights fit into memory together."""
    group: list[Subject] = []
    group_bytes = 0
    for subject in subjects:
        subject_bytes = _weight_bytes(subject)
        if group and group_bytes + subject_bytes > max_group_bytes:
            yield group
            group, group_bytes = [], 0
        group.append(subject)
        group_bytes += subject_bytes
    if group:
        yield group


def _weight_bytes(subject: Subject) -> int:
    match subject.kind:
        case "block":
            return weight_bytes(spec_from_key(subject.text))
        case "network":
            return count(arch_from_json(subject.text)).weight_bytes


class _Group:
    """Subjects that are loaded together and measured in turn."""

    def __init__(
        self,
        subjects: Sequence[Subject],
        backend: AbstractBackend,
        table: LatencyTable,
        *,
        campaign_id: int,
        protocol: Protocol,
    ) -> None:
        self._backend = backend
        self._device = backend.device
        self._table = table
        self._campaign_id = campaign_id
        self._protocol = protocol
        self._random = random.Random(f"{protocol.seed} {campaign_id}")
        self._active = list(subjects)
        self._slots = {subject: slot for slot, subject in enumerate([SENTINEL, *subjects], start=_SENTINEL_SLOT)}
        self._num_runs: dict[Subject, int] = {}
        self._samples: dict[Subject, list[Sample]] = table.samples(self._device, subjects)
        self._round_index = 0
        self._num_deaths = 0

    def measure(self, description: str) -> None:
        """Prepares and loads the subjects, then goes round after round until none is left."""
        with tempfile.TemporaryDirectory(prefix="snapnas-measuring-") as folder:
            self._folder = Path(folder)
            self._prepare()
            max_rounds = self._protocol.max_rounds
            num_done = sum(min(len(self._samples.get(subject, ())), max_rounds) for subject in self._active)
            total = len(self._active) * max_rounds
            with progress(description, total=total, unit="sample", completed=num_done) as bar:
                while self._active:
                    self._measure_until_death(bar)

    def _prepare(self) -> None:
        self._backend.prepare(SENTINEL, self._path(SENTINEL))
        with progress("preparing what is measured", total=len(self._active), unit="model") as bar:
            for subject in list(self._active):
                try:
                    self._backend.prepare(subject, self._path(subject))
                except Exception as error:  # noqa: BLE001 - a block that cannot be exported is a row with a reason
                    self._fail(subject, f"{type(error).__name__}: {error}")
                bar.advance(1)

    def _measure_until_death(self, bar: AbstractBar) -> None:
        """Works with one measuring process until everything is finished, or until a subject kills it."""
        with Worker(self._device.name, time_limit_s=self._protocol.time_limit_s) as worker:
            try:
                self._load(worker)
                while self._active:
                    self._measure_round(worker, bar)
            except _SubjectDiedError as death:
                self._fail(death.subject, str(death.__cause__))
            except WorkerDiedError:  # at the sentinel, which every device can run
                self._num_deaths += 1
                if self._num_deaths > _MAX_DEATHS:
                    raise

    def _load(self, worker: Worker) -> None:
        self._num_runs[SENTINEL] = worker.load(SENTINEL, slot=_SENTINEL_SLOT, path=self._path(SENTINEL))
        if self._table.sentinel_ms(self._device) is None:
            probes_ms = [self._probe_ms(worker) for _ in range(self._protocol.num_calibration_probes)]
            self._table.set_sentinel_ms(self._device, statistics.median(probes_ms))
        with progress("warming up", total=len(self._active), unit="model") as bar:
            for subject in list(self._active):
                try:
                    self._num_runs[subject] = worker.load(subject, slot=self._slots[subject], path=self._path(subject))
                except SubjectError as error:
                    self._fail(subject, str(error))
                except WorkerDiedError as error:
                    raise _SubjectDiedError(subject) from error
                bar.advance(1)

    def _measure_round(self, worker: Worker, bar: AbstractBar) -> None:
        """Takes one sample of every subject, in random order with looks at the sentinel between them."""
        order = self._random.sample(self._active, len(self._active))
        raw: dict[Subject, tuple[float, float]] = {}
        probes_ms, probe_positions = [], []
        for position, subject in enumerate(order):
            if position % self._protocol.sentinel_every == 0:
                probes_ms.append(self._probe_ms(worker))
                probe_positions.append(position)
            try:
                raw[subject] = worker.sample(self._slots[subject], num_runs=self._num_runs[subject])
            except SubjectError as error:
                self._fail(subject, str(error))
            except WorkerDiedError as error:
                raise _SubjectDiedError(subject) from error
        probes_ms.append(self._probe_ms(worker))
        probe_positions.append(len(order))
        sentinels_ms = local_sentinels_ms(probes_ms, probe_positions, num_samples=len(order))
        self._keep_round(order, raw, sentinels_ms, is_flagged=has_moved(probes_ms, self._protocol))
        self._finish_subjects(worker, bar)

    def _probe_ms(self, worker: Worker) -> float:
        num_runs = self._num_runs[SENTINEL]
        samples_ms = [worker.sample(_SENTINEL_SLOT, num_runs=num_runs)[0] for _ in range(_SAMPLES_PER_PROBE)]
        return statistics.median(samples_ms)

    def _keep_round(
        self,
        order: Sequence[Subject],
        raw: dict[Subject, tuple[float, float]],
        sentinels_ms: Sequence[float],
        *,
        is_flagged: bool,
    ) -> None:
        reference_ms = self._table.sentinel_ms(self._device)
        assert reference_ms is not None
        new: dict[Subject, list[Sample]] = {}
        for position, (subject, sentinel_ms) in enumerate(zip(order, sentinels_ms, strict=True)):
            if subject in raw:
                raw_ms, taken_at = raw[subject]
                sample = Sample(
                    raw_ms=raw_ms,
                    num_runs=self._num_runs[subject],
                    drift=sentinel_ms / reference_ms,
                    round_index=self._round_index,
                    position=position,
                    taken_at=taken_at,
                    is_flagged=is_flagged,
                )
                new[subject] = [sample]
                self._samples.setdefault(subject, []).append(sample)
        self._table.add_samples(self._device, new, campaign_id=self._campaign_id)
        self._round_index += 1

    def _finish_subjects(self, worker: Worker, bar: AbstractBar) -> None:
        finished = [subject for subject in self._active if is_finished(self._samples[subject], self._protocol)]
        self._table.finish(self._device, finished)
        for subject in finished:
            worker.drop(self._slots[subject])
        max_rounds = self._protocol.max_rounds  # rounds that were flagged and are taken again do not move the bar
        num_new = sum(len(self._samples[subject]) <= max_rounds for subject in self._active)
        num_saved = sum(max(max_rounds - len(self._samples[subject]), 0) for subject in finished)
        bar.advance(num_new + num_saved, note=f"round {self._round_index}")
        done = set(finished)
        self._active = [subject for subject in self._active if subject not in done]

    def _fail(self, subject: Subject, reason: str) -> None:
        logger.warning("%s %s failed on %s: %s", subject.kind, subject.text[:100], self._device.name, reason[:200])
        self._table.fail(self._device, subject, reason=reason)
        self._active.remove(subject)

    def _path(self, subject: Subject) -> Path:
        return self._folder / f"{subject.subject_id}.model"


class _SubjectDiedError(Exception):
    """The measuring process died while it worked on this subject."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject.text)
        self.subject = subject
