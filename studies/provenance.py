"""Where the milliseconds of a study come from: its device, and the table of every block. Imports no torch.

device = study_device(LatencyTable(engine), study)
breakdown_info(estimate(arch, table, device))
"""

from collections.abc import Sequence

from sqlalchemy import Engine

from profilers.device import Device
from profilers.estimating import estimate, space_correction
from profilers.latency_table import LatencyTable
from search_space.arch import ArchConfig
from search_space.errors import UsageError
from search_space.spaces import search_space
from studies.figure_info import BreakdownInfo, breakdown_info
from studies.fingerprint import latency_table_version
from studies.results import StudySummary


def study_device(table: LatencyTable, study: StudySummary) -> Device:
    """The device whose latency the study counts.

    Raises:
        UsageError: The latency table does not know it.
    """
    for device in table.devices():
        if device.device_id == study.device_id:
            return device
    raise UsageError(
        f"the latency table holds nothing of {study.device} ({study.device_id})",
        fix=f"python -m profilers.measure --device {study.device} fills it",
    )


def arch_breakdown(engine: Engine, study: StudySummary, arch: ArchConfig) -> BreakdownInfo:
    """Where the milliseconds of an architecture go on the study's device.

    Raises:
        SnapNASError: There is no latency table, or it lacks the device or a block.
    """
    table = LatencyTable(engine)
    return breakdown_info(estimate(arch, table, study_device(table, study), interpolate=study.is_interpolated))


def table_change(engine: Engine, study: StudySummary) -> str:
    """A sentence if the table is no longer the one whose milliseconds the study has; empty if it still is.

    Raises:
        SnapNASError: There is no latency table, or it lacks the device.
    """
    stored = study.fingerprint.get("latency table")
    if stored is None:  # the search has not begun
        return ""
    table, interpolate = LatencyTable(engine), study.is_interpolated
    device, space = study_device(table, study), search_space(str(study.config.get("space")))
    correction = space_correction(space, table, device, interpolate=interpolate)
    version = latency_table_version(space, table, device, correction, interpolate=interpolate)
    if stored.partition(" ")[0] == version:
        return ""
    return (
        "The latency table has changed since this study began: the blocks' milliseconds and the correction shown here "
        "are today's, those of its trials are not."
    )


def device_facts(engine: Engine, study: StudySummary) -> Sequence[tuple[str, str]]:
    """What a reader has to know before comparing the study's milliseconds with others, as name and value.

    Raises:
        SnapNASError: There is no latency table, or it lacks the device.
    """
    table = LatencyTable(engine)
    device = study_device(table, study)
    method = "estimate: a formula, not a clock" if device.is_estimate else "sum of measured blocks"
    if study.is_interpolated:
        method += "; blocks that were not measured are guessed from those like them"
    space = search_space(str(study.config.get("space")))
    correction = space_correction(space, table, device, interpolate=study.is_interpolated)
    fitted = "none: plain sums of blocks" if correction is None else correction.describe()
    return (
        ("device", f"{device.name} ({device.device_id})"),
        ("hardware", device.hardware),
        ("operating system", device.operating_system),
        ("runtime", device.runtime),
        ("precision", device.precision),
        ("threads", str(device.threads)),
        ("milliseconds", method),
        ("correction", fitted),
    )
