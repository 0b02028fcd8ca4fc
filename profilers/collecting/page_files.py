"""The files of the page and of its runtime: a fixed list, so no path that a stranger writes ever reaches the disk."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

from profilers.backends.abstract import DeviceUnavailableError

FOLDER = Path(__file__).resolve().parent / "page"
_RUNTIME = "node_modules/onnxruntime-web"

_PAGE_FILES = (
    "deaths.js",
    "index.html",
    "page.js",
    "portions.js",
    "runner.html",
    "runner.js",
    "runner_worker.js",
    "style.css",
)
_RUNTIME_FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
}

_PATHS = {f"/{name}": FOLDER / name for name in _PAGE_FILES}
_PATHS |= {f"/runtime/{name}": FOLDER / _RUNTIME / "dist" / name for name in _RUNTIME_FILES}
_PATHS["/"] = FOLDER / "index.html"


@dataclass(frozen=True, kw_only=True)
class PageFile:
    """One file as it is sent."""

    content: bytes
    """The file, whole."""
    content_type: str
    """Its media type."""


def page_file(url_path: str) -> PageFile | None:
    """The file behind a URL's path; None if it is not on the list."""
    path = _PATHS.get(url_path)
    return None if path is None else PageFile(content=_content(path), content_type=_CONTENT_TYPES[path.suffix])


@functools.cache
def _content(path: Path) -> bytes:
    """In memory once, however many ask for the 27 MB of a runtime at the same time."""
    return path.read_bytes()


@functools.cache
def runtime_version() -> str:
    """The version of the installed ONNX Runtime Web.

    Raises:
        DeviceUnavailableError: It is not installed.
    """
    path = FOLDER / _RUNTIME / "package.json"
    try:
        return str(json.loads(path.read_text())["version"])
    except FileNotFoundError as error:
        raise DeviceUnavailableError(
            "ONNX Runtime Web is not installed, so a browser can measure nothing", fix="scripts/install_browser_runtime"
        ) from error
