"""`python -m dashboard`: shows the studies of a database in the browser, on this machine only."""

import logging
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from search_space.command_line import run
from search_space.errors import UsageError

if TYPE_CHECKING:
    from werkzeug.serving import BaseWSGIServer

    from dashboard.workspace import Workspace

HOST = "127.0.0.1"  # never anything else: the dashboard asks nobody for a password

logger = logging.getLogger("dashboard")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Shows the studies of a database in the browser, live, without ever writing to it."""

    storage: str | None = None
    """Database URL: sqlite:///file.db or postgresql://user:password@host/database; a file in --out by default."""
    port: int = 8050
    """Port on 127.0.0.1; 0 for any that is free."""
    out: Path = Path("workspace")
    """Folder of the study's pictures, as for studies.run."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port {self.port}", allowed="0 to 65535")


def serve(options: Options) -> None:
    """Serves until Ctrl-C."""
    from dashboard.workspace import Workspace
    from profilers.storage import display_url, normalised_url
    from studies.selection import storage_url

    storage = storage_url(options.storage, options.out)
    url = normalised_url(storage)
    workspace = Workspace(storage, options.out)
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_file():
        logger.info("%s is not there yet; the page will show it when it is", display_url(url))
    else:
        workspace.reader()
    server = make_server(workspace, options.port)
    logger.info("the dashboard is at http://%s:%d (Ctrl-C ends it)", HOST, server.port)
    server.serve_forever()


def make_server(workspace: "Workspace", port: int) -> "BaseWSGIServer":
    """A server that listens on this machine only, each request in its own thread.

    Raises:
        UsageError: The port is taken.
    """
    import werkzeug.serving

    from dashboard.app import build_app

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # one line for every poll otherwise
    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        raise UsageError(
            f"port {port} on {HOST} cannot be used: {error.strerror}", fix="give another --port"
        ) from error
    with listener:
        return werkzeug.serving.make_server(
            HOST, listener.getsockname()[1], build_app(workspace), threaded=True, fd=listener.fileno()
        )


if __name__ == "__main__":
    run(serve, Options, prog="dashboard")
