"""What stands between the dashboard and a hostile page in the same browser.

The server listens on this machine only, yet any web site can make a visitor's browser talk to it. So a request must
name this machine as its host (a rebound DNS name does not), one that could change something must come from the page
itself, and the page may load and run nothing that this server does not serve.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from flask import Flask, Response, abort, request

ALLOWED_HOSTS = ("127.0.0.1", "localhost", "::1")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
MAX_BODY_BYTES = 2**20


def protect(server: Flask, *, script_hashes: Sequence[str]) -> None:
    """Guards every route of the server.

    Args:
        server: Whose routes.
        script_hashes: The page's inline scripts, as `'sha256-...'`.
    """
    server.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    policy = "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self' 'unsafe-eval' {' '.join(script_hashes)}",  # Plotly compiles its WebGL drawing code
            "style-src 'self' 'unsafe-inline'",  # Plotly styles its SVG with attributes
            "img-src 'self' data: blob:",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )

    @server.before_request
    def refuse_strangers() -> None:
        if _host_name(request.host) not in ALLOWED_HOSTS:
            abort(403, "open the dashboard as http://127.0.0.1 or http://localhost")
        if request.method not in SAFE_METHODS and not _is_from_this_page():
            abort(403, "a page of another site may not call the dashboard")

    @server.after_request
    def add_headers(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response


def _host_name(host: str) -> str | None:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:  # such as an unclosed bracket
        return None


def _is_from_this_page() -> bool:
    origin = request.headers.get("Origin")
    is_own_origin = origin is None or origin == request.host_url.rstrip("/")
    return is_own_origin and request.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
