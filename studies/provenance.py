"""Where the milliseconds of a study come from: its device, and the table of every block. Imports no torch.

device = study_device(LatencyTable(engine), study)
breakdown_info(estimate(arch, table, device))
"""

from collections.abc import Sequence

from sqlalchemy import Engine

from profilers.device import Device
from profilers.estimating import estimate
from profilers.latency_table import LatencyTable
from search_space.arch import ArchConfig
from search_space.errors import UsageError
from studies.figure_info import BreakdownInfo, breakdown_info
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
    corrections = table.corrections(device, interpolate=study.is_interpolated)
    correction = corrections.get(str(study.config.get("space")))
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
