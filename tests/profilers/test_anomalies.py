import dataclasses

import pytest
from sqlalchemy import Engine

from profilers.anomalies import Anomaly, MeasuredBlock, find_anomalies, measured_blocks
from profilers.backends.exact import ExactBackend, exact_latency_ms
from profilers.latency_table import LatencyTable
from profilers.measuring import measure_space
from search_space.counts import count_block, macs
from search_space.space import reachable_specs
from search_space.spaces import search_space
from search_space.specs import (
    BlockSpec,
    ConvSpec,
    DownsampleSpec,
    NormOutSpec,
    ResidualSpec,
    TransformerSpec,
)

TINY = search_space("tiny")


def exact_block(spec: BlockSpec, *, factor: float = 1.0) -> MeasuredBlock:
    """A row of the exact device, or one that takes `factor` as long."""
    median_ms = factor * exact_latency_ms(spec)
    return MeasuredBlock(
        spec=spec, median_ms=median_ms, low_ms=0.999 * median_ms, high_ms=1.001 * median_ms, samples_ms=(median_ms,) * 8
    )


def with_planted(planted: BlockSpec, factor: float) -> tuple[Anomaly, ...]:
    """What is found in the exact table of the tiny space with one row off."""
    specs = reachable_specs(TINY)
    return find_anomalies([exact_block(spec, factor=factor if spec == planted else 1.0) for spec in specs])


def test_nothing_is_strange_about_an_exact_table(sqlite_engine: Engine) -> None:
    measure_space(TINY, "exact", sqlite_engine)
    specs, device = reachable_specs(TINY), ExactBackend().device
    blocks = measured_blocks(specs, LatencyTable(sqlite_engine), device)
    assert {block.spec for block in blocks} == set(specs)
    assert find_anomalies(blocks) == ()


def test_a_wide_block_that_is_too_fast_is_found() -> None:
    wide = next(spec for spec in reachable_specs(TINY) if isinstance(spec, DownsampleSpec) and spec.channels == 96)
    found = with_planted(wide, 0.5)
    (falling,) = [anomaly for anomaly in found if anomaly.kind == "falling"]
    small, large = falling.blocks
    assert large.spec == wide
    assert small.spec == dataclasses.replace(wide, channels=64)
    assert falling.explanation == "channels 64 -> 96, all else equal"
    assert falling.ratio == pytest.approx(small.median_ms / large.median_ms)


def test_a_transformer_is_widened_with_its_heads() -> None:
    wide = next(
        spec
        for spec in reachable_specs(TINY)
        if isinstance(spec, TransformerSpec) and spec.channels == 96 and spec.num_kv_heads == 1 and spec.size == 8
    )
    found = [anomaly for anomaly in with_planted(wide, 0.1) if anomaly.explanation.startswith("channels 64 -> 96")]
    assert {anomaly.blocks[1].spec for anomaly in found} == {wide}
    for anomaly in found:
        small = anomaly.blocks[0].spec
        assert isinstance(small, TransformerSpec)
        assert (small.head_dim, small.num_kv_heads) == (wide.head_dim, 1)
        assert small.hidden_channels / small.channels == wide.hidden_channels / wide.channels


def test_a_residual_block_is_widened_with_its_hidden_channels() -> None:
    """Of a full convolution both widths are one, so neither ever grows by itself."""
    narrow, wide = (
        next(
            spec
            for spec in reachable_specs(TINY)
            if isinstance(spec, ResidualSpec)
            and (spec.in_channels, spec.out_channels, spec.convolution) == (48, channels, "full")
        )
        for channels in (64, 96)
    )
    factor = 0.5 * exact_latency_ms(narrow) / exact_latency_ms(wide)
    (falling,) = find_anomalies([exact_block(narrow), exact_block(wide, factor=factor)])
    assert (falling.kind, [row.spec for row in falling.blocks]) == ("falling", [narrow, wide])
    assert falling.explanation == "out_channels 64 -> 96, all else equal"
    assert falling.ratio == pytest.approx(2)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_every_kind_of_row_that_is_off_is_in_a_finding(factor: float) -> None:
    """Halved or doubled, some row of every kind with a neighbour contradicts that neighbour."""
    seen = set()
    for spec in reachable_specs(TINY):
        if spec.kind not in seen and any(
            spec in {row.spec for row in each.blocks} for each in with_planted(spec, factor)
        ):
            seen.add(spec.kind)
    assert seen >= {"conv", "residual", "transformer", "downsample", "upsample"}


def test_every_number_of_a_residual_block_can_be_seen_to_fall() -> None:
    """On a device that is the faster the more there is to do, whatever can be compared contradicts."""
    specs = [spec for spec in reachable_specs(TINY) if isinstance(spec, ResidualSpec)]
    seen = set()
    for convolution in ("full", "separable"):
        rows = [exact_block(spec, factor=macs(spec) ** -2.0) for spec in specs if spec.convolution == convolution]
        falling = (anomaly for anomaly in find_anomalies(rows) if anomaly.kind == "falling")
        seen |= {(convolution, anomaly.explanation.partition(" ")[0]) for anomaly in falling}
    growing = {"in_channels", "out_channels", "size", "kernel"}
    assert seen == {("full", name) for name in growing} | {
        ("separable", name) for name in growing | {"hidden_channels"}
    }


def test_a_fall_within_three_percent_or_within_the_intervals_is_none() -> None:
    small, large = (NormOutSpec(channels=channels, size=8, norm_groups=4) for channels in (8, 16))
    rows = [dataclasses.replace(exact_block(small), median_ms=ms, low_ms=low, high_ms=high) for ms, low, high in [
        (1.00, 0.99, 1.01), (1.00, 0.90, 1.10)
    ]]  # fmt: skip
    slightly_faster = dataclasses.replace(exact_block(large), median_ms=0.975, low_ms=0.97, high_ms=0.98)
    faster = dataclasses.replace(exact_block(large), median_ms=0.95, low_ms=0.94, high_ms=0.96)
    assert find_anomalies([rows[0], slightly_faster]) == ()
    assert find_anomalies([rows[1], faster]) == ()
    assert [anomaly.kind for anomaly in find_anomalies([rows[0], faster])] == ["falling"]


def test_more_channels_with_less_to_do_may_be_faster() -> None:
    """As many channels out as in: the shortcut falls away."""
    narrow = ResidualSpec(
        in_channels=128,
        skip_channels=0,
        hidden_channels=32,
        out_channels=120,
        size=16,
        time_width=64,
        convolution="separable",
        kernel=3,
        norm_groups=8,
    )
    wide = dataclasses.replace(narrow, out_channels=128)
    assert macs(wide) < macs(narrow)
    assert find_anomalies([exact_block(narrow), exact_block(wide)]) == ()


def test_equal_work_with_unequal_time_is_found_with_all_its_rows() -> None:
    plain = next(
        spec
        for spec in reachable_specs(TINY)
        if isinstance(spec, TransformerSpec) and spec.self_attention and spec.rope and spec.size == 8
    )
    found = [anomaly for anomaly in with_planted(plain, 1.2) if anomaly.kind == "unequal"]
    (unequal,) = found
    assert unequal.blocks[-1].spec == plain
    assert unequal.ratio == pytest.approx(1.2)
    assert len({(row.spec.kind, count_block(row.spec)) for row in unequal.blocks}) == 1
    same_work = [spec for spec in reachable_specs(TINY) if count_block(spec) == count_block(plain)]
    assert {row.spec for row in unequal.blocks} == {spec for spec in same_work if spec.kind == plain.kind}
    assert not [anomaly for anomaly in with_planted(plain, 1.1) if anomaly.kind == "unequal"]


def test_samples_in_two_heaps_are_found() -> None:
    spec = ConvSpec(in_channels=4, out_channels=8, size=8)
    heaps = dataclasses.replace(exact_block(spec), samples_ms=(1.0,) * 8 + (1.2,) * 8)
    (anomaly,) = find_anomalies([heaps])
    assert (anomaly.kind, anomaly.blocks) == ("two modes", (heaps,))
    assert anomaly.ratio == pytest.approx(1.2)
    assert anomaly.explanation == "8 samples at 1 ms, 8 at 1.2 ms"


def test_the_largest_difference_comes_first() -> None:
    sizes = (4, 8, 16)
    rows = [
        exact_block(NormOutSpec(channels=8, size=size, norm_groups=4), factor=factor)
        for size, factor in zip(sizes, (3.0, 2.0, 1.0), strict=True)
    ]
    assert [round(anomaly.ratio, 6) for anomaly in find_anomalies(rows)] == [3.0, 2.0, 1.5]
