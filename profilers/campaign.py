"""The measuring protocol: every subject once a round, in a new random order each round, until all are known to +-1 %.

Measured one after another, the slow drift of a machine goes straight into the table (up to 6.5 % error of a sum);
interleaved at random it spreads over all blocks alike. What is left of it is seen by a sentinel (`profilers.sentinel`).
What is unstable at the end is given a second chance, unless so much is that the machine must be to blame.

Samples are committed after every round. A campaign that is killed or interrupted goes on where it stopped, because the
samples that the table already holds count, and what it had exported is still there; what was finished before is settled
with the rest, and has its second chance.
"""

import dataclasses
import hashlib
import json
import logging
import random
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from profilers.backends.abstract import AbstractBackend
from profilers.device import Device, num_usable_cores
from profilers.environment import record_environment
from profilers.latency_record import LatencyRecord
from profilers.latency_table import LatencyTable
from profilers.memory import roomy_disk_bytes
from profilers.needed_memory import portions
from profilers.protocol import FORMULA_PROTOCOL, Protocol
from profilers.subject import Subject
from profilers.subject_group import SubjectGroup, remove_prepared
from profilers.temporary_folder import inherited_folder
from profilers.yardstick import YARDSTICK
from search_space.version import git_commit, version_text

logger = logging.getLogger(__name__)

_YARDSTICK_LOADING_SHARE = 5 / 6  # of its time: sixty samples, which take seconds, go through two to eight processes


def run_campaign(
    subjects: Sequence[Subject],
    backend: AbstractBackend,
    table: LatencyTable,
    *,
    description: str = "measuring",
    protocol: Protocol | None = None,
) -> None:
    """Measures the subjects and writes them to the table, each as measured, unstable, failed or does_not_fit.

    Those that have a latency already are not measured again, only settled with the others; those that failed in a
    campaign that was killed are not tried again by this one, which goes on with it.
    """
    device = backend.device
    protocol = protocol or (FORMULA_PROTOCOL if device.is_estimate else Protocol())
    table.add_device(device)
    kinds = {subject.kind for subject in subjects}
    left_unsettled = frozenset[Subject]().union(*(table.unsettled(device, kind) for kind in kinds)) - {YARDSTICK}
    concerned = list(dict.fromkeys([*subjects, *left_unsettled]))
    records = table.records(device, concerned)
    done = {subject for subject, record in records.items() if record.has_latency or _has_just_failed(record)}
    unfinished = [subject for subject in concerned if subject not in done]
    random.Random(protocol.seed).shuffle(unfinished)  # equal blocks of one kind do not share one group
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
    with inherited_folder("snapnas-measuring-", work=_work(device, kinds)) as folder:
        measure = partial(_measure, backend=backend, table=table, campaign_id=campaign_id, folder=folder)
        if _lacks_yardstick(unfinished, table, device):
            measure([YARDSTICK], description="measuring the yardstick", protocol=_yardstick_protocol(protocol))
        measure(unfinished, description=description, protocol=protocol)
        table.settle(device, _known(concerned, table, device))
        again = protocol.second_chance()
        unstable = _unstable(concerned, table, device, again) if protocol.has_second_chance else []
        if len(unstable) > max(protocol.num_always_again, protocol.max_unstable_share * len(concerned)):
            message = "%d of %d are unstable: measure again when the machine is quiet"
            logger.warning(message, len(unstable), len(concerned))
        elif unstable:
            measure(unstable, description="measuring again what is unstable", protocol=again)
            table.settle(device, _known(concerned, table, device))
    table.mark_settled(device, concerned)
    table.finish_campaign(campaign_id, environment=record_environment())


def _measure(
    subjects: Sequence[Subject],
    *,
    description: str,
    protocol: Protocol,
    backend: AbstractBackend,
    table: LatencyTable,
    campaign_id: int,
    folder: Path,
) -> None:
    groups = list(portions(subjects, _prepared_bytes(backend)))
    for group in groups:
        SubjectGroup(
            group,
            backend,
            table,
            campaign_id=campaign_id,
            protocol=protocol,
            max_loaded_bytes=protocol.max_group_bytes or backend.max_loaded_bytes,
            folder=folder,
        ).measure(description)
        if len(groups) > 1:
            remove_prepared(folder)  # the disk has no room for those of all groups


def _work(device: Device, kinds: Iterable[str]) -> str:
    """Names what a campaign's exports are made from: those of another device, another runtime or other code differ.

    Empty, which nothing is taken over for, where nobody knows what the code was: in a checkout with changes.
    """
    if (git_commit() or "").endswith("-dirty"):
        return ""
    made_from = json.dumps([device.device_id, sorted(kinds), version_text()])
    return hashlib.sha256(made_from.encode()).hexdigest()[:16]


def _has_just_failed(record: LatencyRecord) -> bool:
    """Whether the subject failed in a campaign that has not come to its end."""
    return record.has_failed and not record.is_settled


def _known(subjects: Sequence[Subject], table: LatencyTable, device: Device) -> list[Subject]:
    return [subject for subject, record in table.records(device, subjects).items() if record.has_latency]


def _unstable(subjects: Sequence[Subject], table: LatencyTable, device: Device, again: Protocol) -> list[Subject]:
    """Those that are unstable and have not had all rounds of a second chance, as they may have had before a kill."""
    records = table.records(device, subjects)
    unstable = [subject for subject in subjects if records[subject].status == "unstable"]
    samples = table.samples(device, unstable)
    return [subject for subject in unstable if len(samples[subject]) < again.max_rounds]


def _lacks_yardstick(subjects: Sequence[Subject], table: LatencyTable, device: Device) -> bool:
    """Whether networks are about to be measured on a device without it; one that failed with it tries again."""
    if device.is_estimate or YARDSTICK in subjects or all(subject.kind == "block" for subject in subjects):
        return False
    record = table.records(device, [YARDSTICK]).get(YARDSTICK)
    return record is None or not record.has_latency


def _yardstick_protocol(protocol: Protocol) -> Protocol:
    """As many samples as of the sentinel, by several processes: the luck of one would stay in all later networks."""
    rounds = max(protocol.num_calibration_probes, protocol.min_rounds)
    return dataclasses.replace(
        protocol, min_rounds=rounds, max_rounds=rounds, min_process_s=0.0, max_loading_share=_YARDSTICK_LOADING_SHARE
    )


def _prepared_bytes(backend: AbstractBackend) -> int:
    """What may be on the disk at once; for a formula nothing is written."""
    return 2**63 if backend.device.is_estimate else roomy_disk_bytes(shutil.disk_usage(tempfile.gettempdir()).free)
