"""Subjects that are prepared together and measured in turn, round after round, until each is known or has failed.

A subject that kills or hangs the measuring process is a row with a reason; the others go on in a new process. They do
so anyway after a while, because a process has a luck of its own, probably of its memory with the caches: the networks
of one were seen to be 3 % slower than those of the next, compared with the yardstick. Where memory does not hold all of
them, every process loads those that have the fewest samples, so that an hour in which the machine gets slower slows all
alike: measured to their end one portion after another, the networks of four portions came out 3.6 % apart. What the
table holds of a subject already counts, so a group that is taken up again goes on where it stopped.

How many memory holds is a guess. Where one more does not fit in, that is not its failure: the next process loads it
alone. If it runs there, there were too many others, and later processes load half as many.
"""

import logging
import random
import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from profilers.backends.abstract import AbstractBackend
from profilers.bundling.run_bundle import wait_until_cool
from profilers.elasticity import fit_elasticities, with_elasticities
from profilers.latency_table import LatencyTable
from profilers.load_report import LoadReport
from profilers.measurement import Sample
from profilers.memory import lacks_memory
from profilers.needed_memory import counts_of, portions, reason_not_to_fit
from profilers.preparing import full_disk_error, prepare_all
from profilers.protocol import ROUNDS_PER_LOOK, Protocol, is_finished
from profilers.sentinel import COMPANIONS, SENTINEL, between_probes, has_moved, local_sentinels_ms
from profilers.subject import Subject
from profilers.thermal import Thermometer
from profilers.worker_client import SubjectError, Worker, WorkerDiedError
from profilers.yardstick import YARDSTICK, is_due, slowness
from search_space.errors import SnapNASError
from search_space.progress import AbstractBar, progress

logger = logging.getLogger(__name__)

_MARK_SUFFIX = ".prepared"
_SENTINEL_SLOT, _YARDSTICK_SLOT = -1, -2
_SAMPLES_PER_PROBE = 3  # of which the median counts
_MAX_DEATHS = 3  # of the measuring process, none of them the fault of one subject


class SubjectGroup:
    """One group of one campaign."""

    def __init__(
        self,
        subjects: Sequence[Subject],
        backend: AbstractBackend,
        table: LatencyTable,
        *,
        campaign_id: int,
        protocol: Protocol,
        max_loaded_bytes: int,
        folder: Path,
    ) -> None:
        self._max_loaded_bytes = max_loaded_bytes  # of weights, in one process
        self._folder = folder  # of what is prepared; what it already holds is not prepared again
        self._backend = backend
        self._device = backend.device
        self._table = table
        self._campaign_id = campaign_id
        self._protocol = protocol
        self._random = random.Random(f"{protocol.seed} {campaign_id}")
        self._active = list(subjects)  # all that are not finished
        self._turn: list[Subject] = []  # those of them that are loaded
        self._spare: list[Subject] = []  # what can keep them company
        self._companions = [] if self._device.is_estimate else list(COMPANIONS)  # not yet called
        self._yardstick_ms = self._known_yardstick_ms()
        slotted = [SENTINEL, *subjects, *self._companions]
        self._slots = {subject: slot for slot, subject in enumerate(slotted, start=_SENTINEL_SLOT)}
        self._loaded: dict[Subject, LoadReport] = {}
        self._num_runs: dict[Subject, int] = {}
        self._crowded_out: dict[Subject, int] = {}  # to be tried alone: no memory was left beside so many bytes
        self._alone: set[Subject] = set()  # those that ran alone, and do so from then on
        self._samples: dict[Subject, list[Sample]] = table.samples(self._device, subjects)
        self._elasticities = {"block": 1.0, "network": 1.0}
        self._thermometer = Thermometer()
        self._round_index = 0
        self._num_deaths = 0

    def measure(self, description: str) -> None:
        """Prepares and loads the subjects, then goes round after round until none is left."""
        self._refuse_too_large()
        if not self._active:
            return
        fixed = [SENTINEL] if self._yardstick_ms is None else [SENTINEL, YARDSTICK]
        self._prepare([*fixed, *self._active])
        max_rounds = self._protocol.max_rounds
        num_done = sum(min(len(self._samples.get(subject, ())), max_rounds) for subject in self._active)
        total = len(self._active) * max_rounds
        with progress(description, total=total, unit="sample", completed=num_done) as bar:
            while self._active:
                self._measure_with_one_process(bar)

    # Before the rounds

    def _known_yardstick_ms(self) -> float | None:
        """What networks are compared with beside the sentinel; None if there are none, or if it is what is measured."""
        if all(subject.kind == "block" or subject == YARDSTICK for subject in self._active):
            return None
        record = self._table.records(self._device, [YARDSTICK]).get(YARDSTICK)
        return record.median_ms if record is not None and record.has_latency else None

    def _num_too_few(self, subjects: Sequence[Subject]) -> int:
        """How many blocks there have to be beside these blocks; none beside networks."""
        num_blocks = sum(map(self._is_in_turn, subjects))
        return max(self._protocol.sentinel_every - num_blocks, 0) if num_blocks else 0

    def _is_in_turn(self, subject: Subject) -> bool:
        return subject.kind == "block" and self._backend.times_single_runs

    def _refuse_too_large(self) -> None:
        if self._device.is_estimate:
            return
        free_bytes = self._backend.free_bytes()
        for subject in list(self._active):
            if reason := reason_not_to_fit(subject, free_bytes, self._backend.footprint):
                self._give_up(subject, reason, status="does_not_fit")

    def _prepare(self, subjects: Sequence[Subject]) -> None:
        paths = {subject: self._path(subject) for subject in subjects if not self._prepared_mark(subject).exists()}
        num_prepared = len(subjects) - len(paths)
        title = "preparing what is measured"
        with progress(title, total=len(subjects), unit="model", completed=num_prepared) as bar:
            for subject, reason in prepare_all(paths, self._backend, time_limit_s=self._protocol.preparing_limit_s):
                if reason is None:
                    self._prepared_mark(subject).touch()
                else:
                    self._fail(subject, reason)
                bar.advance(1)

    def _load(self, worker: Worker) -> None:
        self._loaded = {}
        worker.load(SENTINEL, slot=_SENTINEL_SLOT, path=self._path(SENTINEL))
        if self._table.sentinel_ms(self._device) is None:
            probes_ms = [self._probe_ms(worker) for _ in range(self._protocol.num_calibration_probes)]
            self._table.set_sentinel_ms(self._device, statistics.median(probes_ms))
        if self._yardstick_ms is not None:
            path = self._path(YARDSTICK)
            worker.load(YARDSTICK, slot=_YARDSTICK_SLOT, path=path)
        subjects = [*self._turn, *self._spare[: self._num_too_few(self._turn)]]
        with progress("warming up", total=len(subjects), unit="model") as bar:
            for subject in subjects:
                self._load_one(worker, subject)
                bar.advance(1)
        if not self._device.is_estimate:
            reports = {subject: self._loaded[subject] for subject in self._turn}
            self._table.add_load_reports(self._device, reports)

    def _next_turn(self) -> list[Subject]:
        """Those with the fewest samples, as many as fit into memory; of equals any, so that each meets all others.

        One that found no memory beside others is alone.
        """
        if waiting := [subject for subject in self._active if subject in self._crowded_out]:
            return waiting[:1]
        shuffled = self._random.sample(self._active, len(self._active))
        by_samples = sorted(shuffled, key=lambda subject: len(self._samples.get(subject, ())))
        if by_samples[0] in self._alone:
            return by_samples[:1]
        sociable = [subject for subject in by_samples if subject not in self._alone]
        return next(portions(sociable, self._max_loaded_bytes))

    def _call_companions(self) -> None:
        """Prepares as many as the turn lacks beside finished blocks, so that none runs in turn with too few others."""
        num_lacking = max(self._num_too_few(self._turn) - len(self._spare), 0)
        called, self._companions = self._companions[:num_lacking], self._companions[num_lacking:]
        if called:
            self._spare += called
            self._prepare(called)

    def _load_one(self, worker: Worker, subject: Subject) -> None:
        slot, path = self._slots[subject], self._path(subject)
        try:
            self._num_runs[subject], self._loaded[subject] = worker.load(subject, slot=slot, path=path)
        except (SubjectError, WorkerDiedError) as error:
            if full_disk := full_disk_error(path, str(error)):  # a runtime that compiles while it loads writes files
                raise full_disk from error
            if lacks_memory(str(error)) and self._makes_room(subject):
                raise _MemoryFullError from error
            if isinstance(error, WorkerDiedError):
                raise _SubjectDiedError(subject) from error
            self._fail(subject, str(error))
        else:
            if subject in self._crowded_out:
                self._load_fewer(self._crowded_out.pop(subject))
                self._alone.add(subject)

    def _makes_room(self, subject: Subject) -> bool:
        """Lets the next process load the subject alone, or no more company than this. False if it was alone."""
        if subject in self._spare:
            self._spare = [other for other in self._spare if other in self._loaded]
            return True
        loaded_bytes = sum(counts_of(other).weight_bytes for other in self._loaded)
        if not loaded_bytes:
            return False
        self._crowded_out[subject] = loaded_bytes
        return True

    def _load_fewer(self, loaded_bytes: int) -> None:
        """Lets later processes load half of what left no memory for one that has it alone."""
        self._max_loaded_bytes = min(self._max_loaded_bytes, loaded_bytes) // 2
        logger.warning(
            "no memory is left on %s beside %.0f MiB of weights; half of them are loaded from now on",
            self._device.name,
            loaded_bytes / 2**20,
        )

    # The rounds

    def _measure_with_one_process(self, bar: AbstractBar) -> None:
        """Works with one measuring process until everything is finished, its time is up, or a subject kills it."""

        def show(complaint: str) -> None:
            bar.advance(0, note=complaint)

        self._turn = self._next_turn()
        self._call_companions()  # ahead of the process, beside which nothing is prepared
        start_s = time.monotonic()
        limits = {"time_limit_s": self._protocol.time_limit_s, "loading_limit_s": self._protocol.loading_limit_s}
        with Worker(self._device.name, **limits) as worker:
            try:
                self._load(worker)
                in_turns = len(self._turn) < len(self._active)
                end_s = self._protocol.process_end_s(start_s, time.monotonic(), in_turns=in_turns)
                while self._turn:
                    wait_until_cool(self._thermometer.read, show, max_wait_s=self._protocol.max_cooling_s)
                    self._measure_round(worker, bar)
                    if time.monotonic() >= end_s:
                        break
            except _SubjectDiedError as death:
                self._num_deaths += death.subject not in self._active
                self._fail(death.subject, str(death.__cause__))
            except _MemoryFullError:
                pass  # the next process loads less
            except WorkerDiedError:  # at the sentinel, which every device can run, or between two requests
                self._num_deaths += 1
        if self._num_deaths > _MAX_DEATHS:
            raise SnapNASError(f"the measuring process of {self._device.name} died {self._num_deaths} times")

    def _measure_round(self, worker: Worker, bar: AbstractBar) -> None:
        """Takes one sample of every subject, in random order with looks at the sentinel between them."""
        order = self._random.sample(self._turn, len(self._turn))
        raw: dict[Subject, tuple[float, float]] = {}
        probes_ms, probe_positions = [], []
        yardstick_ratios = []
        num_taken = 0
        for chunk in between_probes(order, self._protocol):
            probes_ms.append(self._probe_ms(worker))
            probe_positions.append(num_taken)
            if self._yardstick_ms is not None and is_due(num_taken, len(order), self._protocol.num_yardsticks):
                yardstick_ms, _ = worker.sample(_YARDSTICK_SLOT)
                yardstick_ratios.append(yardstick_ms / probes_ms[-1])
            raw |= self._samples_ms(worker, chunk)
            num_taken += len(chunk)
        probes_ms.append(self._probe_ms(worker))
        probe_positions.append(len(order))
        sentinels_ms = local_sentinels_ms(probes_ms, probe_positions, num_samples=len(order))
        self._keep_round(order, raw, sentinels_ms, yardstick_ratios, is_flagged=has_moved(probes_ms, self._protocol))
        self._finish_subjects(bar)

    def _samples_ms(self, worker: Worker, subjects: Sequence[Subject]) -> dict[Subject, tuple[float, float]]:
        """A sample of each and when it was taken: blocks in turn with one another, networks in loops of their own."""
        raw = {}
        in_turn = [subject for subject in subjects if self._is_in_turn(subject)]
        for subject in [subject for subject in subjects if not self._is_in_turn(subject)]:
            try:
                raw[subject] = worker.sample(self._slots[subject])
            except SubjectError as error:
                self._fail(subject, str(error))
            except WorkerDiedError as error:
                raise _SubjectDiedError(subject) from error
        if in_turn:
            raw |= self._samples_in_turn_ms(worker, in_turn)
        return raw

    def _samples_in_turn_ms(self, worker: Worker, subjects: list[Subject]) -> dict[Subject, tuple[float, float]]:
        """A sample of each block; where they are too few, others that are loaded run in turn with them."""
        ring = list(subjects)
        if num_too_few := self._num_too_few(subjects):
            others = [subject for subject in self._loaded if self._is_in_turn(subject) and subject not in subjects]
            ring += self._random.sample(others, min(num_too_few, len(others)))
        self._random.shuffle(ring)
        num_passes = self._protocol.num_passes
        while True:
            slots = [self._slots[subject] for subject in ring]
            expected_s = num_passes * sum(self._loaded[subject].first_run_ms for subject in ring) / 1000
            try:
                samples_ms, taken_at = worker.samples_in_turn(slots, num_passes=num_passes, expected_s=expected_s)
            except (SubjectError, WorkerDiedError) as error:
                if worker.slot_at_work is None:
                    raise
                subject = ring[slots.index(worker.slot_at_work)]
                if isinstance(error, WorkerDiedError):
                    raise _SubjectDiedError(subject) from error
                self._fail(subject, str(error))
                ring.remove(subject)
            else:
                by_subject = dict(zip(ring, samples_ms, strict=True))
                return {subject: (by_subject[subject], taken_at) for subject in subjects if subject in by_subject}

    def _probe_ms(self, worker: Worker) -> float:
        return statistics.median(worker.sample(_SENTINEL_SLOT)[0] for _ in range(_SAMPLES_PER_PROBE))

    def _keep_round(
        self,
        order: Sequence[Subject],
        raw: dict[Subject, tuple[float, float]],
        sentinels_ms: Sequence[float],
        yardstick_ratios: Sequence[float],
        *,
        is_flagged: bool,
    ) -> None:
        reference_ms = self._table.sentinel_ms(self._device)
        assert reference_ms is not None
        network_drift = 1.0
        if self._yardstick_ms is not None:
            network_drift = slowness(yardstick_ratios, yardstick_ms=self._yardstick_ms, sentinel_ms=reference_ms)
        new: dict[Subject, list[Sample]] = {}
        for position, (subject, sentinel_ms) in enumerate(zip(order, sentinels_ms, strict=True)):
            if subject in raw:
                raw_ms, taken_at = raw[subject]
                sample = Sample(
                    raw_ms=raw_ms,
                    num_runs=self._protocol.num_passes if self._is_in_turn(subject) else self._num_runs[subject],
                    drift=sentinel_ms / reference_ms * (network_drift if subject.kind == "network" else 1.0),
                    round_index=self._round_index,
                    position=position,
                    taken_at=taken_at,
                    is_flagged=is_flagged,
                    elasticity=self._elasticities[subject.kind],
                )
                new[subject] = [sample]
                self._samples.setdefault(subject, []).append(sample)
        self._table.add_samples(self._device, new, campaign_id=self._campaign_id)
        self._round_index += 1
        if self._round_index % ROUNDS_PER_LOOK == 0:
            self._fit_elasticities()

    def _fit_elasticities(self) -> None:
        """Learns from all samples so far how closely these subjects follow the machine."""
        self._elasticities |= fit_elasticities(self._samples)
        self._samples = with_elasticities(self._samples, self._elasticities)

    def _finish_subjects(self, bar: AbstractBar) -> None:
        finished = [subject for subject in self._turn if is_finished(self._samples[subject], self._protocol)]
        self._table.finish(self._device, finished, elasticities=self._elasticities)
        num_saved = sum(max(self._protocol.max_rounds - len(self._samples[subject]), 0) for subject in finished)
        bar.advance(len(self._turn) + num_saved, note=f"round {self._round_index}")
        done = set(finished)  # once: for the 10,762 blocks of snapgen a set for each takes minutes
        self._active = [subject for subject in self._active if subject not in done]
        self._turn = [subject for subject in self._turn if subject not in done]
        self._spare += filter(self._is_in_turn, finished)

    def _fail(self, subject: Subject, reason: str) -> None:
        """Writes the failure down, unless the subject only keeps others company: then it is done without."""
        if subject == SENTINEL or (subject == YARDSTICK and subject not in self._active):
            raise SnapNASError(
                f"{self._device.name} cannot run the {subject.kind} that everything is compared with: {reason}"
            )
        self._loaded.pop(subject, None)
        if subject in self._spare:
            self._spare.remove(subject)
            return
        self._give_up(subject, reason, status="failed")

    def _give_up(self, subject: Subject, reason: str, *, status: Literal["failed", "does_not_fit"]) -> None:
        """Measures the subject no further and writes down why. A latency that a second chance was to improve stays."""
        record = self._table.records(self._device, [subject]).get(subject)
        has_latency = record is not None and record.has_latency
        what = f"{status.replace('_', ' ')}{', and keeps its latency' if has_latency else ''}"
        logger.warning("%s on %s: %s: %s", _name(subject), self._device.name, what, reason[:200])
        if not has_latency:
            self._table.fail(self._device, subject, reason=reason, status=status)
        self._active.remove(subject)
        self._turn = [other for other in self._turn if other != subject]

    def _path(self, subject: Subject) -> Path:
        return self._folder / f"{subject.subject_id}.model"

    def _prepared_mark(self, subject: Subject) -> Path:
        """There when what was prepared is whole: a killed exporter leaves half a file."""
        return self._folder / f"{subject.subject_id}{_MARK_SUFFIX}"


def remove_prepared(folder: Path) -> None:
    """Empties a group's folder, the marks first: what is half removed when the process is killed is not used again."""
    for path in sorted(folder.iterdir(), key=lambda path: path.suffix != _MARK_SUFFIX):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _name(subject: Subject) -> str:
    return f"{subject.kind} {subject.text[:100]}"


class _SubjectDiedError(Exception):
    """The measuring process died while it worked on this subject."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject.text)
        self.subject = subject


class _MemoryFullError(Exception):
    """A subject found no memory beside those that the measuring process had loaded."""
