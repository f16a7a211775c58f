"""Servers that are down, silent, broken or something else, all of them real."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from study.config.uris import OFFLINE
from study.tracking.client import check_server
from tests.support.study_fixtures import Patch
from tl_core.errors import InputError


@contextmanager
def answering(answer: bytes, then_close: bool = True) -> Iterator[str]:
    """A server that answers one request with these bytes; yields its URL."""
    checked = threading.Event()

    def serve() -> None:
        with server.accept()[0] as connection:
            connection.recv(1 << 16)
            connection.sendall(answer)
            then_close or checked.wait()

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor() as threads:
        threads.submit(serve)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        checked.set()


def http(status: str, body: str, *headers: str) -> bytes:
    return "\r\n".join((f"HTTP/1.0 {status}", *headers, "", body)).encode()


NOT_MLFLOW = r"is not from an MLflow server"


@pytest.mark.parametrize(("uri", "why"), [
    ("http://me:secret@127.0.0.1:9", "Connection refused"),
    ("http://127.0.0.1:99999", "out of range"),
    ("http://127.0.0.1:five", "could not be cast to integer"),
    ("http://[::1", "Invalid IPv6 URL"),
    ("https://no-such-host.invalid", "."),
])  # fmt: skip
def test_server_that_is_not_there(uri: str, why: str) -> None:
    with pytest.raises(InputError, match=f"^--tracking-uri https?://[^@]*: .*{why}.*; ") as caught:
        check_server(uri, "tl-study")
    assert str(caught.value).endswith(OFFLINE)


@pytest.mark.parametrize(("answer", "why"), [
    (http("500 Oh", "<h1>oh no</h1>"), "it answers 500 Internal Server Error"),
    (http("503 Oh", '{"error_code": "TEMPORARILY"}'), "it answers 503 Service Unavailable"),
    (http("404 Oh", "<h1>no</h1>"), rf"the answer \(404 Not Found\) {NOT_MLFLOW}"),
    (http("200 OK", "<h1>hi</h1>"), rf"the answer \(200 OK\) {NOT_MLFLOW}"),
    (http("200 OK", "[]"), rf"the answer \(200 OK\) {NOT_MLFLOW}"),
    (http("299 OK", "{}"), rf"the answer \(299\) {NOT_MLFLOW}"),
    (b"220 mail\r\n", "220 mail"),
    (
        http("200 OK", '{"experiment": {"experiment_id": "7", "lifecycle_stage": "deleted"}}'),
        "experiment tl-study is deleted; MLFLOW_TRACKING_URI=http://127.0.0.1:.* mlflow "
        "experiments restore -x 7 restores it; --offline keeps",
    ),
])  # fmt: skip
def test_server_that_is_not_mlflow_s(answer: bytes, why: str) -> None:
    with answering(answer) as url, pytest.raises(InputError, match=f"^--tracking-uri {url}: {why}"):
        check_server(url.replace("//", "//me:secret@"), "tl-study")


@pytest.mark.parametrize("answer", [
    http("200 OK", '{"experiment": {}}'),
    http("404 Not Found", '{"error_code": "RESOURCE_DOES_NOT_EXIST"}'),
    http("401 Unauthorized", "who are you?"),
    http("403 Forbidden", "Invalid Host header"),
    http("302 Found", "", "Location: http://127.0.0.1:9"),
])  # fmt: skip
def test_server_that_may_be_mlflow_s(answer: bytes) -> None:
    with answering(answer) as url:
        check_server(url, "tl-study")


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n"])
def test_server_that_does_not_answer(start: bytes, monkeypatch: Patch) -> None:
    monkeypatch.setattr("study.tracking.client._CHECK_TIMEOUT_S", 0.2)
    late = pytest.raises(InputError, match=r"http://127.*: no answer in 0.2 s; ")
    with answering(start, then_close=False) as url, late:
        check_server(url, "tl-study")
