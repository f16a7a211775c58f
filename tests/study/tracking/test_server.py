"""Servers that are down, silent, broken or something else, all of them real ones."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from study.config.uris import OFFLINE
from study.tracking.server import check_server
from tl_core.errors import InputError


@contextmanager
def answering(status: int, body: str, location: str = "") -> Iterator[str]:
    """A web server that answers everything so; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("http://me:secret@127.0.0.1:9", "Connection refused"),
        ("http://127.0.0.1:99999", "out of range"),
        ("http://127.0.0.1:five", "could not be cast to integer"),
        ("http://[::1", "Invalid IPv6 URL"),
        ("https://no-such-host.invalid", "."),
    ],
)
def test_server_that_is_not_there(uri: str, why: str) -> None:
    with pytest.raises(InputError, match=f"^--tracking-uri https?://[^@]*: .*{why}.*; ") as caught:
        check_server(uri)
    assert str(caught.value).endswith(OFFLINE)


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (500, "<h1>oh no</h1>", "it answers 500 Internal Server Error"),
        (503, '{"error_code": "TEMPORARILY_UNAVAILABLE"}', "it answers 503 Service Unavailable"),
        (404, "<h1>no</h1>", r"what answers there \(404 Not Found\) is no MLflow server"),
        (200, "<h1>welcome</h1>", r"what answers there \(200 OK\) is no MLflow server"),
        (200, "[]", r"what answers there \(200 OK\) is no MLflow server"),
        (299, "{}", r"what answers there \(299\) is no MLflow server"),
    ],
)
def test_server_that_is_no_use(status: int, body: str, why: str) -> None:
    with (
        answering(status, body) as url,
        pytest.raises(InputError, match=f"^--tracking-uri {url}: {why}; "),
    ):
        check_server(url.replace("//", "//me:secret@"))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, '{"experiment": {}}'),
        (404, '{"error_code": "RESOURCE_DOES_NOT_EXIST"}'),
        (401, "who are you?"),
        (403, "Invalid Host header"),
        (302, ""),
    ],
)
def test_server_that_mlflow_may_use(status: int, body: str) -> None:
    with answering(status, body, "http://127.0.0.1:9" if status == 302 else "") as url:
        check_server(url)


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 200 OK\r\n"])
def test_server_that_does_not_answer(greeting: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.tracking.server._PATIENCE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        lines = []

        def greet() -> None:
            lines.append(silent.accept()[0])
            lines[0].sendall(greeting)

        greeting_it = threading.Thread(target=greet)
        greeting_it.start()
        with pytest.raises(InputError, match=f"127.0.0.1:{port}: no answer in 0.2 s; "):
            check_server(f"http://127.0.0.1:{port}")
        greeting_it.join()
        lines[0].close()


def test_server_that_speaks_no_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        def greet() -> None:
            with other.accept()[0] as line:
                line.sendall(b"220 mail\r\n")
                line.recv(1 << 16)

        greeting = threading.Thread(target=greet)
        greeting.start()
        with pytest.raises(InputError, match=f"^--tracking-uri http://127.0.0.1:{port}: 220 mail"):
            check_server(f"http://127.0.0.1:{port}")
        greeting.join()
