"""From a device's name to the backend that measures on it.

A name is `BASE[:option=value[,option=value...]]`. One function a kind of device reads its options and imports what it
needs, so that a list of names costs nothing.
"""

import functools
from collections.abc import Callable, Mapping

from profilers.backends.abstract import AbstractBackend
from profilers.backends.device_options import NoOptions, did_you_mean, read_options, split_device_name
from profilers.defaults import DEFAULT_DEVICE
from profilers.roofline.phones import PHONES
from search_space.errors import UsageError


def _onnx_runtime(given: Mapping[str, str]) -> AbstractBackend:
    from profilers.backends.onnx_runtime import OnnxRuntimeBackend, OnnxRuntimeOptions

    return OnnxRuntimeBackend(read_options(DEFAULT_DEVICE, OnnxRuntimeOptions, given))


def _openvino(given: Mapping[str, str]) -> AbstractBackend:
    from profilers.backends.openvino_cpu import OpenVinoBackend, OpenVinoOptions

    return OpenVinoBackend(read_options("host-openvino", OpenVinoOptions, given))


def _torch_cpu(given: Mapping[str, str]) -> AbstractBackend:
    from profilers.backends.torch_cpu import TorchCpuBackend, TorchCpuOptions

    return TorchCpuBackend(read_options("host-torch", TorchCpuOptions, given))


def _executorch(given: Mapping[str, str]) -> AbstractBackend:
    from profilers.backends.executorch_xnnpack import ExecuTorchBackend, ExecuTorchOptions

    return ExecuTorchBackend(read_options("host-executorch", ExecuTorchOptions, given))


def _torch_cuda(given: Mapping[str, str]) -> AbstractBackend:
    from profilers.backends.torch_cuda import TorchCudaBackend, TorchCudaOptions

    return TorchCudaBackend(read_options("cuda-torch", TorchCudaOptions, given))


def _torch_mps(given: Mapping[str, str]) -> AbstractBackend:
    from profilers.backends.torch_mps import TorchMpsBackend, TorchMpsOptions

    return TorchMpsBackend(read_options("mps-torch", TorchMpsOptions, given))


def _core_ml(given: Mapping[str, str]) -> AbstractBackend:
    from profilers.backends.core_ml import BASE_NAME, CoreMLBackend, CoreMLOptions

    return CoreMLBackend(read_options(BASE_NAME, CoreMLOptions, given))


def _chromium(given: Mapping[str, str]) -> AbstractBackend:
    from profilers.backends.browser import ChromiumBackend, ChromiumOptions

    return ChromiumBackend(read_options("chromium", ChromiumOptions, given))


def _exact(given: Mapping[str, str]) -> AbstractBackend:
    from profilers.backends.exact import ExactBackend

    read_options("exact", NoOptions, given)
    return ExactBackend()


def _roofline(name: str, given: Mapping[str, str]) -> AbstractBackend:
    from profilers.backends.roofline import RooflineBackend

    read_options(name, NoOptions, given)
    return RooflineBackend(PHONES[name])


_BACKENDS: dict[str, Callable[[Mapping[str, str]], AbstractBackend]] = {
    DEFAULT_DEVICE: _onnx_runtime,
    "host-openvino": _openvino,
    "host-executorch": _executorch,
    "host-torch": _torch_cpu,
    "cuda-torch": _torch_cuda,
    "mps-torch": _torch_mps,
    "core-ml": _core_ml,
    "chromium": _chromium,
    "exact": _exact,
    **{name: functools.partial(_roofline, name) for name in PHONES},
}

DEVICE_NAMES = tuple(_BACKENDS)
"""Every name without options."""


def is_backend_name(device_name: str) -> bool:
    """Whether `open_backend` takes the name for a device of its own, whether or not that is here."""
    return split_device_name(device_name)[0] in _BACKENDS


def open_backend(device_name: str) -> AbstractBackend:
    """Opens the backend of a device by the device's name.

    Raises:
        UsageError: No device has this name, or it has no such option or value.
        DeviceUnavailableError: The device is not on this machine, or its runtime is not installed.
    """
    base, given = split_device_name(device_name)
    if base not in _BACKENDS:
        allowed = ", ".join(DEVICE_NAMES)
        raise UsageError(f"unknown device {base!r}", allowed=allowed, fix=did_you_mean(base, DEVICE_NAMES))
    return _BACKENDS[base](given)
