"""The device `chromium`: a real headless browser on this machine."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from profilers.backends.abstract import DeviceUnavailableError
from profilers.backends.browser import ChromiumBackend, ChromiumOptions
from profilers.backends.registry import open_backend
from profilers.collecting import headless_chromium, page_files
from profilers.collecting.headless_chromium import ChromiumError, ChromiumPage, find_chromium
from profilers.subject import Subject
from search_space.errors import UsageError
from search_space.specs import BlockSpec, ConvSpec, NormOutSpec
from tests.profilers.collecting.conftest import HAS_CHROMIUM, HAS_RUNTIME

needs_chromium = pytest.mark.skipif(not HAS_CHROMIUM, reason="needs Debian's package chromium")
needs_browser = pytest.mark.skipif(
    not (HAS_CHROMIUM and HAS_RUNTIME), reason="needs chromium and scripts/install_browser_runtime"
)

CONV = ConvSpec(in_channels=4, out_channels=8, size=8)


@pytest.fixture
def uncached() -> Iterator[None]:
    """What is installed is looked up anew, before and after."""
    functions = (find_chromium, headless_chromium.chromium_version, page_files.runtime_version)
    for function in functions:
        function.cache_clear()
    yield
    for function in functions:
        function.cache_clear()


def processes_with(text: str) -> list[str]:
    """The command lines of running processes that hold the text."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it ended meanwhile
            continue
        if text in command:
            lines.append(command)
    return lines


def wait_until_gone(text: str) -> None:
    for _ in range(100):
        if not processes_with(text):
            return
        time.sleep(0.1)
    raise AssertionError(processes_with(text))


@pytest.mark.parametrize(
    "name", ["chromium:threads=0", "chromium:threads=99", "chromium:provider=cuda", "chromium:x=1"]
)
def test_wrong_options_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        open_backend(name)


@pytest.mark.usefixtures("uncached")
def test_a_machine_without_chromium_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceUnavailableError, match="apt-get install chromium"):
        find_chromium()


@pytest.mark.usefixtures("uncached")
def test_a_checkout_without_the_runtime_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_files, "FOLDER", tmp_path)
    with pytest.raises(DeviceUnavailableError, match="scripts/install_browser_runtime"):
        _ = ChromiumBackend().device


@needs_browser
def test_the_device_says_what_keys_a_row() -> None:
    device, two_threads = ChromiumBackend().device, ChromiumBackend(ChromiumOptions(threads=2)).device
    lock = json.loads((page_files.FOLDER / "package-lock.json").read_text())
    version = lock["packages"]["node_modules/onnxruntime-web"]["version"]
    assert device.name == "chromium"
    assert device.runtime.startswith(f"onnxruntime-web {version} wasm in Chromium ")
    assert two_threads.name == "chromium:threads=2"
    assert device.device_id != two_threads.device_id


def test_the_lock_file_names_no_server_and_pins_by_hash() -> None:
    text = (page_files.FOLDER / "package-lock.json").read_text()
    assert "http" not in text
    packages = {name: package for name, package in json.loads(text)["packages"].items() if name}
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())


@needs_browser
@pytest.mark.slow
def test_blocks_run_in_a_browser_that_ends_with_its_backend(tmp_path: Path) -> None:
    backend = ChromiumBackend()
    runners = []
    specs: tuple[BlockSpec, ...] = (CONV, NormOutSpec(channels=8, size=8, norm_groups=4))
    for index, spec in enumerate(specs):
        subject, path = Subject.of_block(spec), tmp_path / str(index)
        backend.prepare(subject, path)
        runners.append(backend.load(subject, path))
    assert all(0 < runner.run(3) < 60 for runner in runners)
    assert backend._browser is not None
    assert backend._browser._page.evaluate("crossOriginIsolated"), "or there are no threads and the clock is coarse"
    (tmp_path / "broken").write_bytes(b"no model")
    with pytest.raises(ChromiumError):
        backend.load(Subject.of_block(CONV), tmp_path / "broken")
    assert 0 < runners[0].run(1) < 60, "a model that cannot be loaded leaves the others as they are"
    profile = f"snapnas-chromium-{os.getpid()}-"
    assert processes_with(profile)
    del runners, backend
    gc.collect()
    wait_until_gone(profile)


@needs_chromium
def test_a_browser_ends_when_its_process_is_killed() -> None:
    code = "import time; from profilers.collecting.headless_chromium import ChromiumPage\n"
    code += "page = ChromiumPage('data:text/html,x'); print(page.evaluate('6 * 7'), flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "42\n"
        profile = f"snapnas-chromium-{process.pid}-"
        assert processes_with(profile)
        process.send_signal(signal.SIGKILL)
    wait_until_gone(profile)


@needs_chromium
def test_an_exception_in_the_page_is_an_error_here() -> None:
    page = ChromiumPage("data:text/html,x")
    with pytest.raises(ChromiumError, match="RangeError: too much"):
        page.evaluate("Promise.reject(new RangeError('too much'))")
    assert page.evaluate("[1, 'two']") == [1, "two"]
