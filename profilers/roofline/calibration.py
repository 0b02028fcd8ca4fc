"""The fitted constants of the formula, as they lie in `calibration.json`.

`python -m profilers.calibrate --write` makes that file, and only it; a test checks that fitting again gives the same.
"""

import dataclasses
import functools
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

from profilers.roofline.formula import Rates
from profilers.roofline.phones import ChipName

ROOFLINE = "roofline"
"""The backend of every device whose milliseconds are this formula's."""

CALIBRATION_PATH = Path(__file__).with_name("calibration.json")


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Everything that was fitted."""

    rates: Rates
    """The reference chip."""
    chip_speeds: dict[ChipName, float]
    """How fast each chip is against the reference chip."""
    growth_per_generation: float
    """How much faster each generation is: what a chip without a figure of its own is given."""
    tablet_gain: float
    """How much faster a tablet's chip is than a phone's of the same generation."""
    apple_gain: float
    """How much faster Apple's own conversion of SD 2.1 runs than the formula says, on every chip."""
    relative_half_width: float = math.inf
    """Half the 95 % interval of a latency, as a share of what the formula says, from left-out figures; infinite before
    there are any."""

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Calibration":
        fields = json.loads(text)
        return cls(**{**fields, "rates": Rates(**fields["rates"])})

    @property
    def calibration_id(self) -> str:
        """The first 8 hex digits of the sha256 of the record: two calibrations never share rows of a table."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:8]


@functools.cache
def stored_calibration() -> Calibration:
    """The constants that come with SnapNAS."""
    return Calibration.from_json(CALIBRATION_PATH.read_text())
