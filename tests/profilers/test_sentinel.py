import random
import statistics

from profilers.measurement import Sample, measurement_of
from profilers.protocol import Protocol
from profilers.sentinel import has_moved, local_sentinels_ms
from tests.profilers.samples import steady_sample


def test_drift_of_the_machine_is_divided_out() -> None:
    # A machine that becomes 20 % slower over 10 rounds, in each of which it measures 60 blocks of 1 ms in random order.
    generator, num_blocks, num_rounds, every = random.Random(0), 60, 10, 8
    samples: dict[int, list[Sample]] = {block: [] for block in range(num_blocks)}
    for round_index in range(num_rounds):

        def speed(position: int, round_index: int = round_index) -> float:
            return 1 + 0.2 * (round_index + position / num_blocks) / num_rounds

        probe_positions = [*range(0, num_blocks, every), num_blocks]
        probes_ms = [0.5 * speed(position) * generator.gauss(1, 0.002) for position in probe_positions]
        sentinels_ms = local_sentinels_ms(probes_ms, probe_positions, num_samples=num_blocks)
        for position, block in enumerate(generator.sample(range(num_blocks), num_blocks)):
            raw_ms = speed(position) * generator.gauss(1, 0.002)
            samples[block].append(steady_sample(raw_ms, drift=sentinels_ms[position] / 0.5))
    medians_ms = [measurement_of(block_samples).median_ms for block_samples in samples.values()]
    raw_medians_ms = [
        statistics.median(sample.raw_ms for sample in block_samples) for block_samples in samples.values()
    ]
    assert max(abs(median_ms - 1) for median_ms in medians_ms) < 0.01
    assert min(raw_medians_ms) > 1.07


def test_one_stray_look_at_the_sentinel_moves_nothing() -> None:
    probes_ms = [0.5, 0.5, 9.0, 0.5, 0.5]
    assert local_sentinels_ms(probes_ms, [0, 4, 8, 12, 16], num_samples=16) == [0.5] * 16


def test_a_round_in_which_the_sentinel_moves_is_flagged() -> None:
    protocol = Protocol()
    assert not has_moved([0.5, 0.51, 0.5, 0.51], protocol)
    assert has_moved([0.5, 0.5, 0.52, 0.52], protocol)
    assert has_moved([0.52, 0.52, 0.5, 0.5], protocol)
