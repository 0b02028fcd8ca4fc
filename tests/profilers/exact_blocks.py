"""What the table of the device `exact` says of blocks, without a campaign."""

from collections.abc import Iterable

from profilers.backends.exact import ExactBackend, exact_latency_ms
from profilers.estimating import BlockLatencies, KnownBlock
from search_space.specs import BlockSpec


def exact_blocks(specs: Iterable[BlockSpec]) -> BlockLatencies:
    device = ExactBackend().device
    known = {
        spec: KnownBlock(latency_ms=exact_latency_ms(spec), below_ms=0.0, above_ms=0.0) for spec in dict.fromkeys(specs)
    }
    return BlockLatencies(device=device, source=device, known=known, failed={}, correction=None)
