"""What `mps-torch` says of a Mac, seen with a pretended one."""

import platform

import pytest
import torch

from profilers.backends.registry import open_backend
from profilers.device import Device


def _device_of_mac(monkeypatch: pytest.MonkeyPatch, *, macos: str, num_gpu_cores: int) -> Device:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "get_core_count", lambda: num_gpu_cores)
    monkeypatch.setattr(platform, "mac_ver", lambda: (macos, ("", "", ""), "arm64"))
    return open_backend("mps-torch").device


def test_macos_and_the_cores_of_the_graphics_processor_key_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    device = _device_of_mac(monkeypatch, macos="15.1", num_gpu_cores=8)
    assert device.operating_system == f"macOS 15.1 {platform.machine()}"
    assert device.hardware.endswith(" cores, 8 GPU cores")
    for macos, num_gpu_cores in (("26.0", 8), ("15.1", 10)):
        other = _device_of_mac(monkeypatch, macos=macos, num_gpu_cores=num_gpu_cores)
        assert other.device_id != device.device_id
