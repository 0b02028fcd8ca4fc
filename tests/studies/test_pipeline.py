"""What a run does with a winner that the device cannot run as a whole."""

import dataclasses
from unittest.mock import Mock

import pytest

from profilers.backends.exact import ExactBackend
from profilers.finding_device import FoundDevice
from search_space.errors import SnapNASError, StorageError
from search_space.space import random_arch
from search_space.spaces import search_space
from studies import pipeline


def test_a_winner_that_cannot_be_measured_whole_stays_unmeasured(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    arch = random_arch(search_space("tiny"), 0)
    found = FoundDevice(device=dataclasses.replace(ExactBackend().device, is_estimate=False), is_here=True)
    monkeypatch.setattr(pipeline, "measure_network", Mock(side_effect=SnapNASError("it needs 9 GiB")))
    assert pipeline._measured_latency_ms(arch, found, Mock()) is None
    assert "the winner as a whole stays unmeasured: it needs 9 GiB" in caplog.text
    monkeypatch.setattr(pipeline, "measure_network", Mock(side_effect=StorageError("the disk is full")))
    with pytest.raises(StorageError):
        pipeline._measured_latency_ms(arch, found, Mock())
