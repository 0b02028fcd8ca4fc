"""One page in a headless Chromium, spoken to through a pipe. Nothing is installed for it but the browser.

Chromium reads commands of its DevTools protocol from file descriptor 3 and answers on 4, each a JSON document that
ends with a NUL. It ends when the pipe closes, so it never outlives the process that started it, however that dies.
"""

import contextlib
import fcntl
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import weakref
from typing import Any

from profilers.backends.abstract import DeviceUnavailableError
from profilers.temporary_folder import TemporaryFolder, new_folder
from search_space.errors import SnapNASError

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_READ_FD, _WRITE_FD = 3, 4  # as Chromium expects them
_FREE_FD = 10  # above those
_PROFILE_PREFIX = "snapnas-chromium-"
_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--disable-dev-shm-usage",  # a container's /dev/shm is often too small
    "--mute-audio",
)


class ChromiumError(SnapNASError):
    """The page raised an exception, or the browser does not do what it is asked."""


@functools.cache
def find_chromium() -> str:
    """The path of an installed Chromium or Chrome.

    Raises:
        DeviceUnavailableError: There is none.
    """
    path = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if path is None:
        raise DeviceUnavailableError(
            "no Chromium is installed", allowed=f"one of {', '.join(PROGRAMS)}", fix="sudo apt-get install chromium"
        )
    return path


@functools.cache
def chromium_version() -> str:
    """The major version, such as "156"."""
    command = [find_chromium(), "--version"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    match = re.search(r"(\d+)\.\d+\.\d+", output)
    if match is None:
        raise DeviceUnavailableError(f"{find_chromium()} does not tell its version", fix="install it again")
    return match[1]


class ChromiumPage:
    """A browser with one open page. It is closed when nobody holds this object any more."""

    def __init__(self, url: str, *, flags: tuple[str, ...] = ()) -> None:
        """Starts the browser and opens the page.

        Args:
            url: What the page shows.
            flags: More flags of Chromium.
        """
        profile = new_folder(_PROFILE_PREFIX)
        command = [find_chromium(), *_FLAGS, *flags, f"--user-data-dir={profile.path}"]
        if os.geteuid() == 0:
            command.append("--no-sandbox")  # Chromium refuses to run sandboxed as root
        process_id, self._to_browser, self._from_browser = _spawn(command)
        weakref.finalize(self, _close, process_id, self._to_browser, self._from_browser, profile)
        self._buffer = b""
        self._next_id = 0
        target = self._ask("Target.createTarget", {"url": "about:blank"})
        attached = self._ask("Target.attachToTarget", {"targetId": target["targetId"], "flatten": True})
        self._session_id = str(attached["sessionId"])
        self._ask("Page.navigate", {"url": url}, session_id=self._session_id)

    def evaluate(self, expression: str) -> Any:
        """Evaluates JavaScript in the page, waits for the promise if it is one, and returns the value as JSON.

        Raises:
            ChromiumError: The page raised an exception.
        """
        parameters = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = self._ask("Runtime.evaluate", parameters, session_id=self._session_id)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            description = details.get("exception", {}).get("description") or details.get("text", "an exception")
            raise ChromiumError(str(description).splitlines()[0][:300])
        return answer["result"].get("value")

    def _ask(self, method: str, parameters: dict[str, Any], *, session_id: str | None = None) -> Any:
        self._next_id += 1
        command = {"id": self._next_id, "method": method, "params": parameters}
        if session_id is not None:
            command["sessionId"] = session_id
        _write(self._to_browser, json.dumps(command).encode() + b"\0")
        while True:
            message = self._read()
            if message.get("id") == self._next_id:
                if "error" in message:
                    raise ChromiumError(f"{method}: {message['error'].get('message')}")
                return message["result"]
            if message.get("method") in ("Inspector.targetCrashed", "Target.targetCrashed"):
                raise SystemExit("the page crashed, perhaps for lack of memory")

    def _read(self) -> Any:
        """The next message. Without its browser a measuring process has lost all that it had loaded, so it ends."""
        while b"\0" not in self._buffer:
            part = os.read(self._from_browser, 2**16)
            if not part:
                raise SystemExit("the browser died")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)


def _spawn(command: list[str]) -> tuple[int, int, int]:
    """Starts the browser; returns its process id and our two ends of the pipes."""
    its_input, our_output = map(_high, os.pipe())
    our_input, its_output = map(_high, os.pipe())
    null = os.open(os.devnull, os.O_RDWR)
    process_id = os.posix_spawn(
        command[0],
        command,
        os.environ,
        file_actions=[
            *((os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)),  # our stdout answers somebody else
            (os.POSIX_SPAWN_DUP2, its_input, _READ_FD),
            (os.POSIX_SPAWN_DUP2, its_output, _WRITE_FD),
        ],
        setpgroup=0,
    )
    for fd in (its_input, its_output, null):
        os.close(fd)
    return process_id, our_output, our_input


def _high(fd: int) -> int:
    """The same file under a number that the browser's own two do not overwrite."""
    high_fd = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FREE_FD)
    os.close(fd)
    return high_fd


def _write(fd: int, content: bytes) -> None:
    try:
        while content:
            content = content[os.write(fd, content) :]
    except BrokenPipeError as error:
        raise SystemExit("the browser died") from error


def _close(process_id: int, to_browser: int, from_browser: int, profile: TemporaryFolder) -> None:
    os.close(to_browser)
    os.close(from_browser)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process_id, signal.SIGKILL)
    os.waitpid(process_id, 0)
    profile.remove()
