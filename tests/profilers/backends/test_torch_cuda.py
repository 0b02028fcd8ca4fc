"""What `cuda-torch` decides before a card is asked, seen with a pretended one; `test_torch_modules.py` needs a card."""

from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch

from profilers.backends import torch_cuda, torch_modules
from profilers.backends.registry import open_backend
from profilers.device import host_hardware
from profilers.needed_memory import reason_not_to_fit
from profilers.subject import Subject
from search_space.references import reference
from search_space.specs import ConvSpec

GIB = 2**30


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """Stands in for `torch.cuda`: a card of 24 GB."""
    cuda = MagicMock()
    cuda.get_device_name.return_value = "NVIDIA GeForce RTX 4090"
    cuda.get_device_properties.return_value.total_memory = 24 * GIB
    monkeypatch.setattr(torch, "cuda", cuda)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    return cuda


@pytest.mark.parametrize(
    ("name", "precision", "card_gib", "fits"),
    [
        ("sdxl", "fp16", 24, True),
        ("sdxl", "fp32", 24, True),
        ("sd15", "bf16", 8, True),
        ("sd15", "fp32", 8, True),
        ("sdxl", "fp16", 4, False),
        ("sdxl", "fp32", 8, False),
    ],
)
def test_a_card_holds_the_weights_once_in_their_precision(
    card: MagicMock, name: str, precision: str, card_gib: int, fits: bool
) -> None:
    card.get_device_properties.return_value.total_memory = card_gib * GIB
    backend, network = open_backend(f"cuda-torch:precision={precision}"), Subject.of_network(reference(name))
    assert (reason_not_to_fit(network, backend.free_bytes(), backend.footprint) is None) == fits


def test_all_graphs_share_one_memory_for_what_they_compute(
    card: MagicMock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch_modules, "build_on", lambda *_: (lambda: None, ()))
    monkeypatch.setattr(torch_cuda, "_forbid_tf32", lambda: None)  # whose settings would stay
    backend = open_backend("cuda-torch:mode=graphs")
    for size in (4, 8):
        backend.load(Subject.of_block(ConvSpec(in_channels=4, out_channels=4, size=size)), tmp_path)
    assert [call.kwargs["pool"] for call in card.graph.call_args_list] == [card.graph_pool_handle.return_value] * 2
    card.graph_pool_handle.assert_called_once()


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("mode", ["eager", "compiled", "graphs"])
def test_the_processor_that_launches_keys_a_row_as_the_card_does(mode: str) -> None:
    assert open_backend(f"cuda-torch:mode={mode}").device.hardware == f"NVIDIA GeForce RTX 4090, {host_hardware()}"


def test_what_loading_takes_is_the_card_s_memory(card: MagicMock) -> None:
    card.memory_allocated.return_value, card.max_memory_allocated.return_value = 3 * GIB, 5 * GIB
    assert open_backend("cuda-torch").watch_memory()() == 2048
    card.reset_peak_memory_stats.assert_called_once()
