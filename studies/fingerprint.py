"""Everything that decides the results of a study, stored with it, so that a resumed study is the same study.

Optuna resumes whatever it finds: other directions, other choices, another device. Mixed in one front, such results
would be wrong without anyone noticing.
"""

import hashlib
import itertools
from collections.abc import Mapping

from profilers.correction import Correction
from profilers.device import Device
from profilers.latency_table import LatencyTable
from search_space.errors import UsageError
from search_space.space import SearchSpace, reachable_specs
from studies.config import StudyConfig
from training.config import config_to_json

METRIC_VERSION = "1"
"""Counts up whenever the same architecture would get another score."""

_MAX_DIFFERENCES = 3


def study_fingerprint(
    config: StudyConfig,
    *,
    device: Device,
    latency_table_version: str,
    data: str,
    teacher: str,
) -> dict[str, str]:
    """What decides the results, each as a short text that a person can compare.

    Args:
        config: The study.
        device: Whose latency counts.
        latency_table_version: From `LatencyTable.version`, of every block that the search depends on.
        data: Fingerprint of the data set's content.
        teacher: Hash of what makes the teacher; "none" without one.
    """
    return {
        "space": f"{config.space} {_digest(repr(config.search_space))}",
        "objectives": ", ".join(f"{one.direction} {one.name}" for one in config.objectives),
        "latency budget": _text(config.latency_budget),
        "device": f"{device.name} {device.device_id}",
        "latency table": f"{latency_table_version} with guesses" if config.interpolate else latency_table_version,
        "data": f"{config.data} {data}",
        "teacher": teacher,
        "proxy": f"{config.proxy.name} {_digest(config_to_json(config.proxy))}",
        "seed": str(config.seed),
        "metric version": METRIC_VERSION,
    }


def latency_table_version(
    space: SearchSpace, table: LatencyTable, device: Device, correction: Correction | None, *, interpolate: bool
) -> str:
    """The version of all that a search of the space depends on: its blocks, or with guesses every block there is."""
    specs = table.blocks(device) if interpolate else reachable_specs(space)
    return table.version(device, specs, correction)


def check_fingerprint(study_name: str, stored: Mapping[str, str], current: Mapping[str, str]) -> None:
    """Refuses to go on with a study that something else was asked of.

    Raises:
        UsageError: The fingerprints differ; the message says where.
    """
    names = [name for name in {**stored, **current} if stored.get(name) != current.get(name)]
    if not names:
        return
    shown = [f"{name} {stored.get(name)} -> {current.get(name)}" for name in itertools.islice(names, _MAX_DIFFERENCES)]
    more = f" and {len(names) - _MAX_DIFFERENCES} more" if len(names) > _MAX_DIFFERENCES else ""
    raise UsageError(
        f"study {study_name!r} was begun with other settings: {'; '.join(shown)}{more}",
        allowed="the settings it was begun with",
        fix="begin a new study with --study NAME, or in another folder with --out DIR",
    )


def _text(config: object) -> str:
    return "none" if config is None else f"{type(config).__name__} {config_to_json(config)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
