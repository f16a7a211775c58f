"""Servers that are down, silent, broken or something else, all of them real."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from requests import Request
from requests.utils import should_bypass_proxies

from study.config.uris import OFFLINE
from study.tracking.client import bypass_proxies, check_server
from study.tracking.login import PASSWORD, TOKEN, USER, login_of
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
    http("403 Forbidden", "Invalid Host header"),
    http("302 Found", "", "Location: http://127.0.0.1:9"),
])  # fmt: skip
def test_server_that_may_be_mlflow_s(answer: bytes) -> None:
    with answering(answer) as url:
        check_server(url, "tl-study")


class Guarded(BaseHTTPRequestHandler):
    """An MLflow server that knows ann, bob, a password and a token."""

    wait_s = 0.0
    """How long each answer takes."""

    def do_GET(self) -> None:
        time.sleep(self.wait_s)
        known = self.headers["Authorization"] in KNOWN
        body = b'{"experiment": {}}' if known else b"who are you?"
        self.send_response(200 if known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


KNOWN = ("Basic YW5uOnMzIGNyw6l0", "Basic Ym9iOmNy6XQ=", "Basic OnB3", "Bearer t0ken")
"""In base64 `ann:s3 crét` as UTF-8, `bob:crét` as Latin-1, and `:pw`."""
REFUSED = {
    "nobody": ({}, "", "it wants a login; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWO"),
    "no password": ({USER: "ann"}, "", "it wants a login; "),
    "environment": ({USER: "ann", PASSWORD: "s3cret"}, "", "it refuses the user and .*_PASSWORD; "),
    "only a user": ({}, "s3cret@", "it wants a login; "),
    "URI first": ({TOKEN: "t0ken"}, "ann:s3cret@", "it refuses the user and password of the URI; "),
    "URI as UTF-8": ({}, "ann:s3%20cr%C3%A9t@", "it refuses the user and password of the URI; "),
    "token": ({TOKEN: "s3cret"}, "", f"it refuses the token of {TOKEN}; "),
    "token of two lines": ({TOKEN: "s3cret\n"}, "", f"the token of {TOKEN} has letters that no "),
}  # fmt: skip


@pytest.fixture
def guarded(monkeypatch: Patch, tmp_path: Path) -> Iterator[str]:
    """Host and port of a server that wants a login; nobody has one."""
    for name in (USER, PASSWORD, TOKEN, "MLFLOW_TRACKING_AUTH", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("case", REFUSED)
def test_a_login_that_is_refused(case: str, guarded: str, monkeypatch: Patch) -> None:
    variables, user, why = REFUSED[case]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    told = pytest.raises(InputError, match=f"^--tracking-uri http://{guarded}: {why}")
    with told as caught:
        check_server(f"http://{user}{guarded}", "tl-study")
    assert str(caught.value).endswith(OFFLINE)
    assert "s3cret" not in str(caught.value)
    # What else MLflow's client may log in with is its own affair.
    (Path.home() / ".netrc").touch()
    check_server(f"http://{user}{guarded}", "tl-study")


@pytest.mark.parametrize(("variables", "user"), [
    ({USER: "ann", PASSWORD: "s3 crét", TOKEN: "other"}, ""), ({TOKEN: "t0ken"}, ""),
    ({TOKEN: "other"}, "bob:cr%C3%A9t@"), ({TOKEN: "other"}, ":pw@"), ({TOKEN: "t0ken"}, "eve@"),
    ({TOKEN: "t0ken"}, ":@"), ({USER: "ann", PASSWORD: "s3 crét"}, "eve@"),
    ({"MLFLOW_TRACKING_AUTH": "plugin"}, ""), ({}, "ann:%E2%82%AC@"),  # A euro, which MLflow tells.
])  # fmt: skip
def test_a_login_that_is_accepted(
    variables: dict[str, str], user: str, guarded: str, monkeypatch: Patch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    check_server(f"http://{user}{guarded}", "tl-study")


@pytest.mark.parametrize("user", ["bob:cr%C3%A9t@", ":pw@", "b%3Ab:p%40w@", "bob:@", "bob@", ":@"])
def test_the_login_of_a_uri_is_the_one_that_the_client_of_mlflow_sends(user: str) -> None:
    uri = f"http://{user}localhost"
    sent = Request("GET", uri).prepare().headers.get("Authorization")
    login = login_of(uri)
    assert (login and login.header) == sent


def test_a_plug_in_may_log_in(guarded: str, tmp_path: Path, monkeypatch: Patch) -> None:
    about = tmp_path / "own_headers-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: own-headers\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[mlflow.request_header_provider]\nown = own:Own\n")
    monkeypatch.syspath_prepend(tmp_path)
    check_server(f"http://{guarded}", "tl-study")


def test_a_home_that_can_not_be_entered(guarded: str, monkeypatch: Patch) -> None:
    def closed(path: object, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setenv(TOKEN, "t0ken")
    monkeypatch.setattr("os.stat", closed)
    check_server(f"http://{guarded}", "tl-study")


def test_a_slow_server_has_its_time_for_each_answer(guarded: str, monkeypatch: Patch) -> None:
    monkeypatch.setenv(TOKEN, "t0ken")
    monkeypatch.setattr("study.tracking.client._CHECK_TIMEOUT_S", 1.0)
    monkeypatch.setattr(Guarded, "wait_s", 0.6)
    check_server(f"http://{guarded}", "tl-study")


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n"])
def test_server_that_does_not_answer(start: bytes, monkeypatch: Patch) -> None:
    monkeypatch.setattr("study.tracking.client._CHECK_TIMEOUT_S", 0.2)
    late = pytest.raises(InputError, match=r"http://127.*: no answer in 0.2 s; ")
    with answering(start, then_close=False) as url, late:
        check_server(url, "tl-study")


DEAD = "http://me:secret@127.0.0.1:9"
"""A proxy that is not there."""


@pytest.fixture
def behind_proxy(monkeypatch: Patch) -> None:
    """No proxy but the dead one, and no exception to it."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("http_proxy", DEAD)
    # So that what is set in a test is removed after it.
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")


def test_a_server_on_this_machine_is_not_asked_through_a_proxy(behind_proxy: None) -> None:
    with answering(http("200 OK", '{"experiment": {}}')) as url:
        check_server(url, "tl-study")


@pytest.mark.parametrize(("uri", "before", "after"), [
    ("http://localhost:5000", "", "localhost"),
    ("http://me:secret@127.0.0.2:5000", "a.org,b.org", "a.org,b.org,127.0.0.2"),
    ("http://[::1]:5000", "::1", "::1"),
    ("http://host:5000", "a.org", "a.org"), ("sqlite:///mlflow.db", "", ""),
    ("http://[::1", "", ""),
])  # fmt: skip
def test_the_client_of_mlflow_asks_no_proxy_for_this_machine(
    uri: str, before: str, after: str, behind_proxy: None, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("no_proxy", before)
    bypass_proxies(uri)
    assert os.environ["no_proxy"] == after
    if after not in ("", "a.org"):  # As the library that MLflow asks with reads it.
        assert should_bypass_proxies(uri, None)


def test_a_proxy_that_fails_is_named_without_its_password(behind_proxy: None) -> None:
    why = (
        r"Connection refused \(asked through the proxy http://127.0.0.1:9 of http_proxy, which "
        r"no_proxy=host.invalid avoids\); "
    )
    with pytest.raises(InputError, match=f"^--tracking-uri http://host.invalid:5000: {why}"):
        check_server("http://host.invalid:5000", "tl-study")
