"""The limits of the server, through a real socket."""

import contextlib
import http.client
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from profilers.collecting import http_server
from profilers.collecting.http_server import MAX_BODY_BYTES, Request, Response, Tls, serving
from search_space.errors import UsageError

seen: list[Request] = []


def echo(request: Request) -> Response:
    seen.append(request)
    return Response(status=200, content=request.body, content_type="application/octet-stream")


@pytest.fixture
def port() -> Iterator[int]:
    seen.clear()
    with serving(echo, address="127.0.0.1", port=0) as port:
        yield port


def send(port: int, request: bytes) -> bytes:
    """Sends bytes and reads until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def status_of(response: bytes) -> int:
    return int(response.split(b" ", 2)[1])


def post(headers: str, body: bytes = b"") -> bytes:
    head = f"POST /api/portions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}\r\n"
    return head.encode() + body


def test_a_body_of_the_allowed_size_comes_through(port: int) -> None:
    body = bytes(MAX_BODY_BYTES)
    response = send(port, post(f"Content-Length: {len(body)}\r\n", body))
    assert status_of(response) == 200
    assert response.endswith(body)


def test_a_phone_on_a_slow_network_gets_a_large_file_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes longer than a connection may stand still."""
    monkeypatch.setattr(http_server._Handler, "timeout", 0.5)
    content = bytes(range(256)) * 2**17  # more than the sockets hold
    response = Response(status=200, content=content, content_type="application/wasm")
    with serving(lambda request: response, address="127.0.0.1", port=0) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/")
        received = connection.getresponse()
        parts = []
        began_s = time.monotonic()
        while part := received.read(2**20):
            parts.append(part)
            time.sleep(0.05)
        assert time.monotonic() - began_s > 1
        connection.close()
    assert b"".join(parts) == content


REFUSED = {
    "one byte too many": (f"Content-Length: {MAX_BODY_BYTES + 1}\r\n", 413),
    "ten terabytes": ("Content-Length: 10000000000000\r\n", 413),
    "a length beyond all numbers": (f"Content-Length: {'9' * 300}\r\n", 400),
    "chunks": ("Transfer-Encoding: chunked\r\n", 411),
    "chunks and a length": ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 411),
    "gzip": ("Content-Encoding: gzip\r\nContent-Length: 5\r\n", 415),
    "no length": ("", 411),
    "two lengths": ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
    "a negative length": ("Content-Length: -5\r\n", 400),
    "a length in words": ("Content-Length: five\r\n", 400),
    "a foreign digit": ("Content-Length: \u00b2\r\n", 400),
}


@pytest.mark.parametrize(("headers", "status"), REFUSED.values(), ids=REFUSED)
def test_a_body_is_refused_before_its_first_byte(port: int, headers: str, status: int) -> None:
    """Nothing of the body is sent, so a server that waited for it would time out."""
    assert status_of(send(port, post(headers))) == status
    assert seen == []


def test_a_failure_of_ours_is_answered_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(request: Request) -> Response:
        raise RuntimeError("the disk is gone")

    with serving(fail, address="127.0.0.1", port=0) as port:
        response = send(port, post("Content-Length: 0\r\n"))
    assert status_of(response) == 500
    assert b"the disk is gone" not in response
    assert "the disk is gone" in caplog.text


def test_endless_chunks_are_cut(port: int) -> None:
    """The refusal comes at once, and whoever goes on sending is cut off."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(post("Transfer-Encoding: chunked\r\n"))
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            connection.sendall((b"10000\r\n" + bytes(0x10000) + b"\r\n") * 1024)
    assert seen == []


def test_a_body_that_does_not_come_ends_the_connection(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server._Handler, "timeout", 0.2)
    assert send(port, post("Content-Length: 5\r\n", b"abc")) == b""
    assert seen == []


def trickle(connection: socket.socket) -> None:
    """A byte now and then, for two seconds."""
    for _ in range(100):
        connection.sendall(b"1")
        time.sleep(0.02)


HELD_OPEN = {"the headers": b"GET / HTTP/1.1\r\nHost: ", "the body": post("Content-Length: 1000\r\n")}


@pytest.mark.parametrize("beginning", HELD_OPEN.values(), ids=HELD_OPEN)
def test_a_request_that_comes_byte_by_byte_is_given_up(
    port: int, monkeypatch: pytest.MonkeyPatch, beginning: bytes
) -> None:
    monkeypatch.setattr(http_server._Handler, "timeout", 0.2)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(beginning)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            trickle(connection)
    assert seen == []


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac answers to one address of loopback only")
def test_one_address_cannot_take_all_connections(port: int) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(http_server._MAX_CONNECTIONS_PER_ADDRESS):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        assert send(port, b"") == b"", "one too many is closed at once"
        other = http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=("127.0.0.2", 0))
        other.request("GET", "/")
        assert other.getresponse().status == 200
        other.close()


@pytest.mark.parametrize("request_line", [b"GET / HTTP/9.9", b"BREW / HTTP/1.1", b"DELETE / HTTP/1.1", b"GET"])
def test_what_is_not_http_is_the_clients_mistake(port: int, request_line: bytes) -> None:
    assert 400 <= status_of(send(port, request_line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")) < 500
    assert seen == []


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[", "localhost.evil.example:80"])
def test_a_name_that_somebody_elses_dns_points_here_is_refused(port: int, host: str) -> None:
    assert status_of(send(port, f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())) == 403
    assert seen == []


def test_the_page_is_isolated_and_loads_nothing_from_elsewhere(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/?token=abc")
    headers = connection.getresponse().headers
    connection.close()
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Vary"] == "Origin"
    assert headers["Server"] == "SnapNAS"
    assert "Access-Control-Allow-Origin" not in headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe-inline" not in policy
    assert seen[0].path == "/", "the query is not even handed on"


def test_a_port_that_is_taken_is_a_clear_error(port: int) -> None:
    with pytest.raises(UsageError, match="give another"), serving(echo, address="127.0.0.1", port=port):
        pass


def test_https_with_a_certificate_of_ones_own(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -out {certificate} -keyout {key}"
    subprocess.run([*command.split(), "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    context = ssl.create_default_context(cafile=str(certificate))
    with serving(echo, address="127.0.0.1", port=0, tls=Tls(certificate=certificate, key=key)) as port:
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()
    assert seen[-1].own_origin == f"https://127.0.0.1:{port}"


def test_a_certificate_that_is_none_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("nothing")
    tls = Tls(certificate=tmp_path / "no.pem", key=tmp_path / "no.pem")
    with pytest.raises(UsageError, match="PEM"), serving(echo, address="127.0.0.1", port=0, tls=tls):
        pass
