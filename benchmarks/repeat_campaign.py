"""`python -m benchmarks.repeat_campaign`: the same campaign again and again, minutes apart.

A latency is worth what it is when it is measured again: MLPerf Mobile asks for results within 5 % in five tries with
five minutes between them. Here every campaign measures the same random networks whole, from nothing but the first
references of sentinel and yardstick, and the page says how far each network's median strays from the middle of its
medians.

To resume, type the same command again: finished campaigns stay, and the pause counts from the last one's end.
"""

import dataclasses
import itertools
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from profilers.backends.registry import open_backend
from profilers.checking import measure_networks
from profilers.defaults import DEFAULT_DEVICE
from profilers.device import Device
from profilers.environment import provenance
from profilers.latency_table import LatencyTable
from profilers.noise_floor import noise_floor_percent
from profilers.protocol import Protocol, protocol_of
from profilers.storage import open_engine
from search_space import command_line
from search_space.errors import UsageError
from search_space.progress import progress
from search_space.space import distinct_archs
from search_space.spaces import search_space

PAGE_PATH = Path(__file__).with_suffix(".md")
WANTED_PERCENT = 2.0


@dataclass(frozen=True, kw_only=True)
class RepeatOptions:
    """Measures the same random networks in several campaigns, minutes apart, and says how far their medians move."""

    campaigns: int = 5
    """How many campaigns."""
    pause_s: float = 300.0
    """Seconds between the end of one and the start of the next."""
    networks: int = 20
    """How many random architectures."""
    space: str = "tiny"
    """Search space: tiny, mid or snapgen."""
    device: str = DEFAULT_DEVICE
    """Device, such as host-onnxruntime or host-onnxruntime:threads=2."""
    max_rounds: int = 0
    """Samples of every network that is not known to +-1 % before; 0: 50."""
    folder: Path = Path("workspace/repeat_campaign")
    """Where finished campaigns are kept."""
    json: bool = False
    """Print the result as one JSON line on stdout."""

    def __post_init__(self) -> None:
        for flag, value in (("--campaigns", self.campaigns), ("--networks", self.networks)):
            if value < 2:
                raise UsageError(f"{flag} {value} was given", allowed="at least 2")
        if not 0 <= self.pause_s < float("inf"):
            raise UsageError(f"--pause-s {self.pause_s} was given", allowed="seconds, 0 or more")


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """One campaign."""

    finished_at: float
    """Seconds since 1970."""
    noise_floor_percent: float
    """How far two halves of the same network's samples are apart, mean over the networks."""
    medians_ms: tuple[float, ...]
    """Of every network, always in the same order."""


def repeat(options: RepeatOptions) -> None:
    """The command."""
    device = open_backend(options.device).device
    campaigns = measure_campaigns(options, device)
    page = "\n".join(_page(campaigns, device, options))
    print(page, file=sys.stderr)
    PAGE_PATH.write_text(page)
    if options.json:
        deviations = worst_deviations_percent(campaigns)
        document = {"worst_deviations_percent": deviations, "campaigns": list(map(dataclasses.asdict, campaigns))}
        command_line.print_json(document)


def measure_campaigns(options: RepeatOptions, device: Device) -> list[Campaign]:
    """The campaigns that are kept in the folder, and those that are still missing."""
    options.folder.mkdir(parents=True, exist_ok=True)
    name = f"{options.space}-{options.networks}-{device.device_id}"
    path = options.folder / f"{name}.json"
    protocol = protocol_of(options.max_rounds) or Protocol()
    rules = dataclasses.asdict(protocol)
    kept = json.loads(path.read_text()) if path.exists() else {"rules": rules, "campaigns": []}
    if kept["rules"] != rules:
        raise UsageError(f"{path} holds campaigns by other rules", fix="give another --folder, or delete this one")
    campaigns = [Campaign(**{**fields, "medians_ms": tuple(fields["medians_ms"])}) for fields in kept["campaigns"]]
    table = LatencyTable(open_engine(f"sqlite:///{options.folder / name}.db"))
    archs = distinct_archs(search_space(options.space), options.networks, seed=0)
    while len(campaigns) < options.campaigns:
        if campaigns:
            _wait_until(campaigns[-1].finished_at + options.pause_s)
        measured = measure_networks(archs, options.device, table, protocol=protocol)
        measurements = [measured[arch] for arch in archs]
        campaign = Campaign(
            finished_at=time.time(),
            noise_floor_percent=noise_floor_percent(measurements),
            medians_ms=tuple(measurement.median_ms for measurement in measurements),
        )
        campaigns.append(campaign)
        whole = path.with_suffix(".new")
        whole.write_text(json.dumps({"rules": rules, "campaigns": list(map(dataclasses.asdict, campaigns))}))
        whole.replace(path)
    return campaigns[: options.campaigns]


def worst_deviations_percent(campaigns: Sequence[Campaign]) -> list[float]:
    """For every network: how far the campaign that strays most is from the middle of all, in percent."""
    deviations = []
    for medians_ms in zip(*(campaign.medians_ms for campaign in campaigns), strict=True):
        middle_ms = statistics.median(medians_ms)
        deviations.append(100 * max(abs(median_ms / middle_ms - 1) for median_ms in medians_ms))
    return deviations


def _wait_until(moment: float) -> None:
    remaining_s = round(moment - time.time())
    if remaining_s <= 0:
        return
    with progress("waiting for the next campaign", total=remaining_s, unit="s") as bar:
        for _ in range(remaining_s):
            time.sleep(1)
            bar.advance(1)


def _page(campaigns: Sequence[Campaign], device: Device, options: RepeatOptions) -> list[str]:
    deviations = worst_deviations_percent(campaigns)
    num_kept = sum(deviation <= WANTED_PERCENT for deviation in deviations)
    middle, worst = statistics.median(deviations), max(deviations)
    command = f"python -m benchmarks.repeat_campaign --campaigns {len(campaigns)} --pause-s {options.pause_s:g}"
    command += f" --networks {options.networks} --space {options.space} --device {options.device}"
    command += f" --max-rounds {options.max_rounds}" if options.max_rounds else ""
    ends_s = [campaign.finished_at for campaign in campaigns]
    between = ", ".join(f"{(later_s - earlier_s) / 60:.0f}" for earlier_s, later_s in itertools.pairwise(ends_s))
    medians_ms = zip(*(campaign.medians_ms for campaign in campaigns), strict=True)
    return [
        f"# The same campaign {len(campaigns)} times: {options.space} on {device.name}",
        "",
        *provenance(device, command=command),
        f"- minutes from one campaign's end to the next one's: {between}",
        "",
        f"Wanted: every network's medians within {WANTED_PERCENT:g} % of their middle.",
        f"Kept by {num_kept} of {len(deviations)}: the median strays by {middle:.1f} %, the worst by {worst:.1f} %.",
        "",
        "| campaign | all networks, against the first | noise floor |",
        "|---|---|---|",
        *(_campaign_line(index, campaign, campaigns[0]) for index, campaign in enumerate(campaigns, start=1)),
        "",
        "| medians of a network, ms | strays by |",
        "|---|---|",
        *map(_network_line, medians_ms, deviations),
        "",
    ]


def _network_line(medians_ms: Sequence[float], deviation_percent: float) -> str:
    return f"| {', '.join(f'{median_ms:.3f}' for median_ms in medians_ms)} | {deviation_percent:.1f} % |"


def _campaign_line(index: int, campaign: Campaign, first: Campaign) -> str:
    ratios = [ms / first_ms for ms, first_ms in zip(campaign.medians_ms, first.medians_ms, strict=True)]
    return f"| {index} | {100 * (statistics.median(ratios) - 1):+.1f} % | {campaign.noise_floor_percent:.1f} % |"


if __name__ == "__main__":
    command_line.run(repeat, RepeatOptions, prog="benchmarks.repeat_campaign")
