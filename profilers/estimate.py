"""`python -m profilers.estimate ARCH`: how long an architecture takes on a device, by the device's latency table."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from profilers.defaults import DEFAULT_DEVICE, DEFAULT_STORAGE
from search_space import command_line
from search_space.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class EstimateOptions:
    """Adds up an architecture's measured blocks: one run of the UNet, and a whole picture."""

    arch: Annotated[str, tyro.conf.Positional]
    """A reference's name (sd15, sdxl, snapgen_t2i, ...), an architecture's JSON, or a diffusers config.json."""
    device: str = DEFAULT_DEVICE
    """Device, as `profilers.measure` takes it, or the id of one that the table holds."""
    source: Annotated[str, tyro.conf.arg(name="from")] = ""
    """Use the blocks of this device, transferred to `--device` by `profilers.transfer`."""
    interpolate: bool = False
    """Guess blocks that nobody measured from measured ones like them."""
    steps: int = 28
    """Steps of the sampler for one picture."""
    guidance: bool = False
    """Run the UNet twice a step, with the caption and with the empty one."""
    text_encoder_ms: float = 0.0
    """One run of the text encoder; 0: not known, not counted."""
    decoder_ms: float = 0.0
    """One run of the decoder; 0: not known, not counted."""
    storage: str = DEFAULT_STORAGE
    """Database URL: sqlite:///file.db or postgresql://user:password@host/database."""
    json: bool = False
    """Print the estimate as one JSON line on stdout."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"--steps {self.steps} was given", allowed="at least 1")
        for flag, value_ms in (("--text-encoder-ms", self.text_encoder_ms), ("--decoder-ms", self.decoder_ms)):
            if not 0 <= value_ms < float("inf"):
                raise UsageError(f"{flag} {value_ms} was given", allowed="milliseconds, 0 or more")


def estimate(options: EstimateOptions) -> None:
    """The command; what it needs is imported when it runs, so that `--help` comes at once."""
    from profilers import estimating
    from profilers.estimate_report import json_document, print_report
    from profilers.finding_device import find_device
    from profilers.latency_table import LatencyTable
    from profilers.pipeline_cost import pipeline_cost
    from profilers.storage import open_engine
    from profilers.subject import Subject
    from search_space.arch import canonical
    from search_space.describe import read_arch

    arch = canonical(read_arch(options.arch))
    table = LatencyTable(open_engine(options.storage, read_only=True))
    device = find_device(options.device, table).device
    found = estimating.estimate(
        arch,
        table,
        device,
        interpolate=options.interpolate,
        source=find_device(options.source, table).device if options.source else None,
    )
    measured = None if device.is_estimate else table.measurement(device, Subject.of_network(arch))
    cost = pipeline_cost(
        measured or found,
        num_steps=options.steps,
        uses_guidance=options.guidance,
        text_encoder_ms=options.text_encoder_ms or None,
        decoder_ms=options.decoder_ms or None,
    )
    if options.json:
        command_line.print_json(json_document(arch, device, found, cost))
    else:
        print_report(arch, device, found, cost)


if __name__ == "__main__":
    command_line.run(estimate, EstimateOptions, prog="profilers.estimate")
