"""ONNX Runtime Web in a headless Chromium on this machine: what a phone's browser runs, without a phone.

The worker process serves the page's own files to one headless browser, loads each block into it, and asks it to run.
The clock is the page's, so the way to the browser and back is in no number. Inputs are copied into the runtime's memory
and outputs out of it in every run, because a page can use the runtime in no other way.
"""

import json
import weakref
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from profilers.backends.abstract import AbstractBackend, AbstractRunner
from profilers.backends.device_options import canonical_name, check_threads
from profilers.collecting.headless_chromium import ChromiumPage, chromium_version
from profilers.collecting.http_server import Request, Response, error_response, serving
from profilers.collecting.page_files import page_file, runtime_version
from profilers.device import Device, host_hardware, host_operating_system
from profilers.memory import Footprint
from profilers.subject import Subject

_WEBGPU_FLAGS = ("--enable-unsafe-webgpu", "--enable-features=Vulkan")  # WebGPU is off in Chromium for Linux


@dataclass(frozen=True, kw_only=True)
class ChromiumOptions:
    """What can be chosen on `chromium`."""

    threads: int = 1
    """Of one operator, with WebAssembly."""
    provider: Literal["wasm", "webgpu"] = "wasm"
    """On the processor, or on the graphics processor if Chromium finds one."""

    def __post_init__(self) -> None:
        check_threads(self.threads)


class ChromiumBackend(AbstractBackend):
    """The device `chromium`."""

    def __init__(self, options: ChromiumOptions | None = None) -> None:
        self._options = options or ChromiumOptions()
        self._browser: _Browser | None = None

    @property
    def device(self) -> Device:
        return Device(
            name=canonical_name("chromium", self._options),
            backend="browser",
            hardware=host_hardware(),
            operating_system=host_operating_system(),
            runtime=f"onnxruntime-web {runtime_version()} {self._options.provider} in Chromium {chromium_version()}",
            precision="fp32",
            threads=self._options.threads,
        )

    @property
    def times_single_runs(self) -> bool:
        return False  # by a page's clock one short run is known to some percent; a phone's page takes the mean of four

    @property
    def footprint(self) -> Footprint:
        return Footprint(writes_scores=True)  # as ONNX Runtime does here

    def prepare(self, subject: Subject, path: Path) -> None:
        from profilers.backends.onnx_runtime import OnnxRuntimeBackend

        OnnxRuntimeBackend().prepare(subject, path)

    def load(self, subject: Subject, path: Path) -> AbstractRunner:
        if self._browser is None:
            self._browser = _Browser(self._options)
        return _BrowserRunner(self._browser, path)


class _Browser:
    """A headless browser with one page that runs blocks, and the server that gives it its files."""

    def __init__(self, options: ChromiumOptions) -> None:
        models: dict[str, Path] = {}
        stack = ExitStack()
        port = stack.enter_context(serving(lambda request: _respond(request, models), address="127.0.0.1", port=0))
        weakref.finalize(self, stack.close)
        flags = _WEBGPU_FLAGS if options.provider == "webgpu" else ()
        self._models = models
        self._num_models = 0
        self._page = ChromiumPage(f"http://127.0.0.1:{port}/runner.html", flags=flags)
        choice = json.dumps({"provider": options.provider, "threads": options.threads})
        self._page.evaluate(
            f"""import("/runner.js")
            .then(({{ Runner }}) => Runner.open({choice}))
            .then(runner => {{ globalThis.runner = runner; }})"""
        )

    def load(self, path: Path) -> int:
        """Loads a model; returns the slot that it runs under."""
        slot = self._num_models
        self._num_models += 1
        url_path = f"/models/{slot}"
        self._models[url_path] = path
        try:
            fetching = f"fetch('{url_path}').then(response => response.arrayBuffer())"
            self._page.evaluate(f"{fetching}.then(model => runner.load({slot}, model))")
        finally:
            del self._models[url_path]
        return slot

    def run(self, slot: int, num_runs: int) -> float:
        """Runs a model; returns the seconds that all runs took by the page's clock."""
        return float(self._page.evaluate(f"runner.run({slot}, {num_runs})"))

    def drop(self, slot: int) -> None:
        self._page.evaluate(f"runner.drop({slot})")


class _BrowserRunner(AbstractRunner):
    """One model in the browser, freed there when nobody holds this object any more."""

    def __init__(self, browser: _Browser, path: Path) -> None:
        self._browser = browser
        self._slot = browser.load(path)
        weakref.finalize(self, browser.drop, self._slot).atexit = False  # then the browser goes as a whole

    def run(self, num_runs: int) -> float:
        return self._browser.run(self._slot, num_runs)


def _respond(request: Request, models: dict[str, Path]) -> Response:
    if (file := page_file(request.path)) is not None:
        return Response(status=200, content=file.content, content_type=file.content_type)
    path = models.get(request.path)
    if path is None:
        return error_response(404, "there is nothing here")
    return Response(status=200, content=path.read_bytes(), content_type="application/octet-stream")
