"""What can be measured: one block of a network, or a whole network.

A subject is text, so that it passes through a pipe, a database and a file name without losing anything.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal, Self

from search_space.arch import ArchConfig
from search_space.specs import BlockSpec, spec_key


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One thing with a latency."""

    kind: Literal["block", "network"]
    """Whether `text` is a block's spec or a network's architecture."""
    text: str
    """The sorted JSON of the spec or of the architecture."""

    @classmethod
    def of_block(cls, spec: BlockSpec) -> Self:
        return cls(kind="block", text=spec_key(spec))

    @classmethod
    def of_network(cls, arch: ArchConfig) -> Self:
        return cls(kind="network", text=arch.to_json())

    @property
    def subject_id(self) -> str:
        """The first 16 hex digits of the sha256 of the text: the key of a row, the name of a file."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]
