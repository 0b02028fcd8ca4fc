"""A phone or tablet that nobody here has: its milliseconds come from a formula fitted to published figures.

`profilers/roofline` holds the formula, what it was fitted on and how far off it is; every number it gives is called an
estimate wherever it is shown. A network takes the sum of its blocks, without noise.
"""

from pathlib import Path

from profilers.backends.abstract import AbstractBackend, AbstractRunner
from profilers.backends.exact import ComputedRunner
from profilers.device import Device
from profilers.roofline.calibration import ROOFLINE, stored_calibration
from profilers.roofline.formula import latency_ms, work_of
from profilers.roofline.phones import CHIPS, Phone
from profilers.subject import Subject
from search_space.arch_json import arch_from_json
from search_space.specs import BlockSpec, spec_from_key
from search_space.walk import block_specs


def estimated_latency_ms(phone: Phone, *specs: BlockSpec) -> float:
    """Milliseconds of blocks that run one after another, at batch size 1."""
    calibration = stored_calibration()
    return latency_ms(work_of(specs), calibration.rates) / calibration.chip_speeds[phone.chip]


class RooflineBackend(AbstractBackend):
    """One of `profilers.roofline.phones.PHONES`."""

    def __init__(self, phone: Phone) -> None:
        self._phone = phone

    @property
    def device(self) -> Device:
        return Device(
            name=self._phone.name,
            backend=ROOFLINE,
            hardware=f"{self._phone.title}, {CHIPS[self._phone.chip].name}: a formula, never measured",
            operating_system=self._phone.operating_system,
            runtime=f"roofline, calibration {stored_calibration().calibration_id}",
            precision="fp16",
            threads=1,
            is_estimate=True,
        )

    def prepare(self, subject: Subject, path: Path) -> None:
        pass  # nothing is loaded from a file

    def load(self, subject: Subject, path: Path) -> AbstractRunner:
        match subject.kind:
            case "block":
                specs: tuple[BlockSpec, ...] = (spec_from_key(subject.text),)
            case "network":
                specs = block_specs(arch_from_json(subject.text))
        return ComputedRunner(estimated_latency_ms(self._phone, *specs))
