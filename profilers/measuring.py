"""Fills the latency table: every block a search space can reach, or one whole network.

Not only blocks that were sampled: a search asks for the latency of architectures nobody has seen. What the table holds
is not measured again, so the same call goes on after a kill and has nothing to do the second time.
"""

from sqlalchemy import Engine

from profilers.backends.registry import open_backend
from profilers.campaign import run_campaign
from profilers.estimating import BlockLatencies
from profilers.latency_record import Coverage
from profilers.latency_table import LatencyTable
from profilers.measurement import Measurement
from profilers.protocol import Protocol
from profilers.subject import Subject
from search_space.arch import ArchConfig
from search_space.errors import SnapNASError, UsageError
from search_space.space import SearchSpace, reachable_specs


def measure_space(
    space: SearchSpace, device_name: str, engine: Engine, *, again: bool = False, protocol: Protocol | None = None
) -> Coverage:
    """Measures what the table lacks of a space and returns what it then holds.

    Args:
        space: The search space.
        device_name: A name of `profilers.backends.registry.DEVICE_NAMES`.
        engine: From `profilers.storage.open_engine`.
        again: Whether blocks that were unstable, failed or did not fit are measured from the start again; what a call
            that was killed has tried is left as it is, and only settled.
        protocol: The measuring rules; the default ones are for use, others for tests.
    """
    backend = open_backend(device_name)
    table = LatencyTable(engine)
    specs = reachable_specs(space)
    if again:
        records = table.records(backend.device, map(Subject.of_block, specs))
        tried = [subject for subject, record in records.items() if record.is_settled and record.status != "measured"]
        table.forget(backend.device, tried)
    coverage = table.coverage(specs, backend.device)
    subjects = [*map(Subject.of_block, coverage.missing), *table.unsettled(backend.device, "block")]
    if not subjects:
        return coverage
    run_campaign(subjects, backend, table, description=f"measuring {device_name}", protocol=protocol)
    return table.coverage(specs, backend.device)


def require_known(space: SearchSpace, latencies: BlockLatencies, *, is_here: bool) -> None:
    """Makes sure that a search of the space meets no block of which nothing is known.

    Args:
        space: The search space.
        latencies: What the table says of it.
        is_here: Whether the device can measure now.

    Raises:
        UsageError: There are such blocks.
    """
    specs, name = reachable_specs(space), latencies.source.name
    num_missing = sum(spec not in latencies.known and spec not in latencies.failed for spec in specs)
    if not num_missing:
        return
    reason = "too few of their kind are there to guess them" if latencies.is_guessing else "which is not here"
    raise UsageError(
        f"the table lacks {num_missing} of {len(specs)} blocks of {space.name} on {name}, {reason}",
        fix=f"python -m profilers.measure --space {space.name} --device {name} --budget 10m"
        if is_here
        else "let the device measure them: python -m profilers.collect, profilers.bundle or profilers.table import",
    )


def measure_network(arch: ArchConfig, device_name: str, engine: Engine) -> Measurement:
    """Measures one whole network, or returns what the table holds of it.

    Raises:
        SnapNASError: The device cannot run it.
    """
    backend = open_backend(device_name)
    table = LatencyTable(engine)
    subject = Subject.of_network(arch)
    measurement = table.measurement(backend.device, subject)
    if measurement is not None:
        return measurement
    run_campaign([subject], backend, table, description=f"measuring {arch.arch_id}")
    measurement = table.measurement(backend.device, subject)
    if measurement is None:
        reason = table.records(backend.device, [subject])[subject].reason
        raise SnapNASError(f"{device_name} could not run the network {arch.arch_id}: {reason}")
    return measurement
