"""What loading a block or a network says, apart from its latency: how long, how cold, how large, and where it runs."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """One subject being loaded for the first time in the measuring process."""

    load_ms: float
    """From the file to a runner, with everything the runtime compiles or packs."""
    first_run_ms: float
    """The cold start: the first run after loading."""
    peak_memory_mib: float | None
    """By how much loading and the first run raised the process's peak memory; None where the system does not tell."""
    placement: Mapping[str, int] | None
    """Nodes of the graph by provider or delegate; None where the runtime does not tell."""

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))
