"""A device that is not here says so in at most three lines, and how to get it."""

import subprocess
import sys

import pytest
import torch

from profilers.backends.abstract import DeviceUnavailableError
from profilers.backends.registry import open_backend


@pytest.mark.parametrize(("name", "fix"), [("host-openvino", "openvino"), ("host-executorch", "executorch")])
def test_a_package_that_is_missing_is_named(name: str, fix: str) -> None:
    program = (
        "import sys; sys.path.insert(0, '.')\n"
        "from profilers.backends.abstract import DeviceUnavailableError\n"
        "from profilers.backends.registry import open_backend\n"
        "try: open_backend(sys.argv[1])\n"
        "except DeviceUnavailableError as error: print(error)"
    )
    command = [sys.executable, "-S", "-c", program, name]  # -S: without any installed package
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"fix: pip install {fix}" in said
    assert len(said.splitlines()) <= 3


def test_compiling_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(DeviceUnavailableError, match="no-such-compiler"):
        open_backend("host-torch:mode=compiled")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
@pytest.mark.parametrize("name", ["cuda-torch", "cuda-torch:precision=bf16,mode=graphs"])
def test_no_card_is_no_crash(name: str) -> None:
    with pytest.raises(DeviceUnavailableError, match="fix: ") as caught:
        open_backend(name)
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this is a Mac")
def test_metal_is_only_on_a_mac() -> None:
    with pytest.raises(DeviceUnavailableError, match="needs a Mac"):
        open_backend("mps-torch")
