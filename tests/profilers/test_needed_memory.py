import dataclasses
import itertools

from profilers.backends.registry import open_backend
from profilers.memory import Footprint
from profilers.needed_memory import counts_of, needed_bytes, portions, reason_not_to_fit
from profilers.subject import Subject
from search_space.space import random_arch, reachable_specs
from search_space.spaces import search_space
from search_space.specs import ConvSpec, TransformerSpec

SUBJECT = Subject.of_block(ConvSpec(in_channels=1000, out_channels=1000, size=8))
MIB = 2**20


def test_what_needs_more_than_is_free_does_not_fit_and_says_the_numbers() -> None:
    footprint = Footprint()
    needed = needed_bytes(SUBJECT, footprint)
    assert reason_not_to_fit(SUBJECT, needed, footprint) is None
    assert reason_not_to_fit(SUBJECT, None, footprint) is None
    reason = reason_not_to_fit(SUBJECT, needed - MIB, footprint)
    assert reason is not None
    assert f"{needed / MIB:.0f} MiB" in reason
    assert "3 x 34 MiB of weights" in reason


def test_one_copy_in_half_precision_needs_a_sixth_for_its_weights() -> None:
    footprint = Footprint(weight_copies=1, bytes_per_number=2)
    free_bytes = needed_bytes(SUBJECT, footprint) - MIB
    reason = reason_not_to_fit(SUBJECT, free_bytes, footprint)
    assert reason is not None
    assert f"needs about {free_bytes / MIB + 1:.0f} MiB" in reason
    assert "1 x 17 MiB of weights, 8 x 0 MiB of activations" in reason


def test_scores_count_where_attention_writes_them() -> None:
    specs = reachable_specs(search_space("tiny"))
    spec = next(spec for spec in specs if isinstance(spec, TransformerSpec) and spec.self_attention)
    large = Subject.of_block(dataclasses.replace(spec, size=128))
    scores = spec.num_heads * 128**4 * 4
    fused, written = Footprint(), Footprint(writes_scores=True)
    assert needed_bytes(large, written) - needed_bytes(large, fused) == 2 * scores
    assert needed_bytes(SUBJECT, written) == needed_bytes(SUBJECT, fused)
    reason = reason_not_to_fit(large, 2 * scores, open_backend("host-onnxruntime").footprint)
    assert reason is not None
    assert f"2 x {scores / MIB:.0f} MiB of attention's scores" in reason
    assert reason_not_to_fit(large, 2 * scores, open_backend("host-torch").footprint) is None


def test_a_network_needs_at_least_the_weights_of_its_blocks() -> None:
    network = Subject.of_network(random_arch(search_space("tiny"), 0))
    assert needed_bytes(network, Footprint()) > counts_of(network).weight_bytes > 0


def test_portions_fit_into_memory_and_lose_nobody() -> None:
    subjects = [Subject.of_block(ConvSpec(in_channels=64, out_channels=64, size=size)) for size in range(1, 11)]
    one_block_bytes = 4 * (64 * 64 * 9 + 64)
    found = list(portions(subjects, 3 * one_block_bytes))
    assert [len(portion) for portion in found] == [3, 3, 3, 1]
    assert list(itertools.chain(*found)) == subjects
    assert [len(portion) for portion in portions(subjects, 1)] == [1] * 10
