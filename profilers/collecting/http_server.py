"""A small HTTP server whose limits are real: a body's size is known and allowed before its first byte is read.

Python's own `http.server` under it, because nothing then stands between the socket and these rules: no body without a
length, none above 1 MB, none packed, a deadline for the headers and for the body of every request, a fixed number of
connections, in all and for each address. Every response forbids the page to load or run anything from elsewhere, and
isolates it, which is what gives it threads and an exact clock.
"""

import contextlib
import io
import ipaddress
import json
import logging
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from search_space.errors import UsageError

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 2**20
READ_TIMEOUT_S = 20.0
_MAX_CONNECTIONS = 64
_MAX_CONNECTIONS_PER_ADDRESS = 16  # a browser opens six
_CHUNK_BYTES = 2**16

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Vary": "Origin",
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request whose body, if it has one, is of an allowed size."""

    method: str
    """GET, POST or OPTIONS."""
    path: str
    """Without the query, which nothing here reads."""
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes = b""
    """Empty unless the method is POST."""
    own_origin: str
    """The origin of a page that this server served to whoever asks."""
    address: str
    """Who asks; for the limit on guesses, never stored."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """What is sent back."""

    status: int
    """2xx or 4xx."""
    content: bytes = b""
    """The body."""
    content_type: str = "application/json"
    """Its media type."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Beside the security headers."""


Application = Callable[[Request], Response]


def json_response(status: int, document: object) -> Response:
    return Response(status=status, content=json.dumps(document, allow_nan=False).encode())


def error_response(status: int, message: str) -> Response:
    return json_response(status, {"error": message})


@dataclass(frozen=True, kw_only=True)
class Tls:
    """What an HTTPS server shows."""

    certificate: Path
    """PEM, with the chain."""
    key: Path
    """PEM, without a password."""


@contextlib.contextmanager
def serving(application: Application, *, address: str, port: int, tls: Tls | None = None) -> Iterator[int]:
    """Serves in threads of its own while the block runs; gives the port.

    Raises:
        UsageError: The address or port cannot be used, or the certificate cannot be read.
    """
    context = None if tls is None else _tls_context(tls)
    try:
        server = _Server(address, port, application, context)
    except OSError as error:
        raise UsageError(
            f"{address} port {port} cannot be used: {error.strerror}", fix="give another --listen or --port"
        ) from error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _tls_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"the certificate {tls.certificate} with the key {tls.key} cannot be used: {error.strerror or error}",
            allowed="two PEM files that belong together",
        ) from error
    return context


class _Server(ThreadingHTTPServer):
    """One listening socket; a thread for every connection, and not more than 64 of them, 16 for one address."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = _MAX_CONNECTIONS  # a sixth that comes at once would otherwise try again a second later

    def __init__(self, address: str, port: int, application: Application, context: ssl.SSLContext | None) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.application = application
        self.scheme = "http" if context is None else "https"
        self._lock = threading.Lock()
        self._connections: Counter[str] = Counter()  # that are open, by address
        super().__init__((address, port), _Handler)
        if context is not None:  # the handshake waits for the client, so it belongs into the connection's own thread
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._is_admitted(str(client_address[0])):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._connections -= Counter([str(client_address[0])])  # drops those at zero

    def _is_admitted(self, address: str) -> bool:
        with self._lock:
            is_full = self._connections.total() >= _MAX_CONNECTIONS
            if is_full or self._connections[address] >= _MAX_CONNECTIONS_PER_ADDRESS:
                return False
            self._connections[address] += 1
            return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("a connection broke off: %s", sys.exception())


class _TimedReader(io.RawIOBase):
    """What a client sends, as long as its time lasts: byte by byte, nobody holds a thread for longer than this."""

    def __init__(self, connection: socket.socket, limit_s: float) -> None:
        super().__init__()
        self._connection = connection
        self._limit_s = limit_s
        self.restart()

    def restart(self) -> None:
        """Begins the time anew, for a request line with its headers or for a body."""
        self._deadline_s = time.monotonic() + self._limit_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        remaining_s = self._deadline_s - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError("the request did not come in time")
        self._connection.settimeout(remaining_s)
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(self._limit_s)  # what is written has a time of its own


class _Handler(BaseHTTPRequestHandler):
    """Checks what can be known before the body, reads it, and asks the application."""

    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = READ_TIMEOUT_S

    def setup(self) -> None:
        super().setup()
        self.rfile.close()  # it waits anew for every byte
        self._reader = _TimedReader(self.connection, self.timeout)
        self.rfile = io.BufferedReader(self._reader)

    def handle_one_request(self) -> None:
        """Reads and answers one request. With TLS the first read begins with the handshake, in the same time."""
        self._reader.restart()
        super().handle_one_request()

    def version_string(self) -> str:
        return "SnapNAS"

    def log_message(self, format: str, *args: Any) -> None:
        pass  # a log line would hold an address

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answers what Python's parser refuses; a method we do not have is the client's mistake, so 405 and not 501."""
        status = {501: 405, 505: 400}.get(code, code)
        self._refuse(error_response(status, message or "bad request"))

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_OPTIONS(self) -> None:
        self._handle()

    def _handle(self) -> None:
        host = self.headers.get("Host", "")
        if not _is_own_host(host):
            self._refuse(error_response(403, "this server is not known under that name"))
            return
        refusal = self._body_refusal()
        if refusal is not None:
            self._refuse(refusal)
            return
        request = Request(
            method=self.command,
            path=self.path.partition("?")[0],
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self._read_body(),
            own_origin=f"{self.server.scheme}://{host}",
            address=str(self.client_address[0]),
        )
        self._send(self._response(request))

    def _response(self, request: Request) -> Response:
        try:
            return self.server.application(request)
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            return error_response(500, "this server failed; its log says why")

    def _body_refusal(self) -> Response | None:
        lengths = self.headers.get_all("Content-Length", [])
        if "Transfer-Encoding" in self.headers:
            return error_response(411, "send a Content-Length; chunks are not read")
        if self.headers.get("Content-Encoding", "identity") != "identity":
            return error_response(415, "a packed body is not read")
        if not lengths:
            return error_response(411, "send a Content-Length") if self.command == "POST" else None
        if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdigit()) or len(lengths[0]) > 18:
            return error_response(400, "the Content-Length is not one number")
        if int(lengths[0]) > MAX_BODY_BYTES:
            return error_response(413, f"a body has at most {MAX_BODY_BYTES} bytes")
        if self.command != "POST" and int(lengths[0]) > 0:
            return error_response(400, f"a {self.command} has no body")
        return None

    def _read_body(self) -> bytes:
        """Reads as much as was announced, or gives up."""
        num_bytes = int(self.headers.get("Content-Length", 0))
        self._reader.restart()
        body = self.rfile.read(num_bytes)
        if len(body) < num_bytes:
            raise ConnectionError("the body did not come")
        return body

    def _refuse(self, response: Response) -> None:
        """Answers without having read the body, and ends the connection."""
        self.close_connection = True
        self.request_version = self.protocol_version  # a line without a version would be answered without a status
        self._send(response)
        # A socket that is closed with bytes unread is reset, and the client may lose the answer: read a little more.
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(0.2)
            for _ in range(32):
                if not self.connection.recv(_CHUNK_BYTES):
                    break

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in {**SECURITY_HEADERS, **response.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        for start in range(0, len(response.content), _CHUNK_BYTES):  # the time limit holds for each
            self.wfile.write(response.content[start : start + _CHUNK_BYTES])


def _is_own_host(host: str) -> bool:
    """An IP address or this machine's own name. A name that somebody else's DNS points here is refused."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:  # such as an unclosed bracket
        return False
    own_name = socket.gethostname().lower()
    if name in ("localhost", own_name, f"{own_name}.local"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
