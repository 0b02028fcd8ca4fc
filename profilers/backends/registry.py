"""From a device's name to the backend that measures on it."""

import difflib
from collections.abc import Callable

from profilers.backends.abstract import AbstractBackend
from profilers.defaults import DEFAULT_DEVICE
from search_space.errors import UsageError


def _onnx_runtime() -> AbstractBackend:
    from profilers.backends.onnx_runtime import OnnxRuntimeBackend

    return OnnxRuntimeBackend()


def _torch_cpu() -> AbstractBackend:
    from profilers.backends.torch_cpu import TorchCpuBackend

    return TorchCpuBackend()


def _exact() -> AbstractBackend:
    from profilers.backends.exact import ExactBackend

    return ExactBackend()


_BACKENDS: dict[str, Callable[[], AbstractBackend]] = {
    DEFAULT_DEVICE: _onnx_runtime,
    "host-torch": _torch_cpu,
    "exact": _exact,
}

DEVICE_NAMES = tuple(_BACKENDS)


def open_backend(device_name: str) -> AbstractBackend:
    """Opens the backend of a device by the device's name.

    Raises:
        UsageError: No device has this name.
    """
    if device_name not in _BACKENDS:
        near = difflib.get_close_matches(device_name, DEVICE_NAMES, n=1)
        fix = f"did you mean {near[0]}?" if near else "give one of these"
        raise UsageError(f"unknown device {device_name!r}", allowed=", ".join(DEVICE_NAMES), fix=fix)
    return _BACKENDS[device_name]()
