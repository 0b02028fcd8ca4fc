"""Samples that differ in nothing but what a test is about."""

from profilers.measurement import Sample


def steady_sample(raw_ms: float = 1.0, *, drift: float = 1.0, is_flagged: bool = False) -> Sample:
    return Sample(
        raw_ms=raw_ms, num_runs=1, drift=drift, round_index=0, position=0, taken_at=0.0, is_flagged=is_flagged
    )
