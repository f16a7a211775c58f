"""MLflow's client settings, and a quick check of a server that does not import MLflow."""

import http.client
import ipaddress
import json
import logging
import os
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

from study.config.uris import OFFLINE, is_server, reason, without_credentials
from study.tracking.database import answer_in_time, deleted_fault, no_answer
from study.tracking.login import WAYS_IN, is_known, login_of
from tl_core.errors import Fault, InputError

_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
_DEFAULTS = {
    _TIMEOUT: "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # MLflow's own retries may create a run twice.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_UPLOAD_TIMEOUT_S = 120
"""MLflow's default: a server may have to pass files on."""
_CHECK_TIMEOUT_S = 4.0
_CHECK_PATH = "/api/2.0/mlflow/experiments/get-by-name?experiment_name="
_MAX_BYTES = 1 << 20


def configure_client() -> None:
    """Set what MLflow reads at each call; what the user has set in the environment stays."""
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


@contextmanager
def upload_timeout() -> Iterator[None]:
    """Wait longer for each answer while files are sent."""
    before = os.environ[_TIMEOUT]
    os.environ[_TIMEOUT] = str(max(int(before), _UPLOAD_TIMEOUT_S))
    try:
        yield
    finally:
        os.environ[_TIMEOUT] = before


def bypass_proxies(uri: str) -> None:
    """Have MLflow's client ask a server on this machine itself, not a proxy.

    By `no_proxy`, the only way that its HTTP library has; what the user has in it stays.
    """
    if (host := _host(uri)) and _is_loopback(host) and getproxies():
        names = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
        if host not in names.split(","):
            # Libraries read one of both names first.
            os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, [names, host]))


def _host(uri: str) -> str:
    with suppress(ValueError):
        return urlsplit(uri).hostname or "" if is_server(uri) else ""
    return ""


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def _proxies(uri: str) -> dict[str, str]:
    """The proxies that are asked for a server, by scheme; `no_proxy` is respected."""
    host = _host(uri)
    return {} if _is_loopback(host) or proxy_bypass(host) else getproxies()


def _through(uri: str) -> str:
    """A note about the proxy that was asked in place of the server, if one was."""
    scheme = uri.partition(":")[0]
    proxy = _proxies(uri).get(scheme)
    if not proxy:
        return ""
    named = f"{without_credentials(proxy)} of {scheme}_proxy"
    return f" (asked through the proxy {named}, which no_proxy={_host(uri)} avoids)"


def check_server(uri: str, experiment: str, way_out: str = OFFLINE) -> None:
    """Raise `InputError` within seconds unless an MLflow server may be at `uri`.

    `way_out` ends the error's text. The first request has no login. If the server wants one, it
    gets that which MLflow's client would send; where that is not known, MLflow finds out.
    """
    again = threading.Event()
    if fault := answer_in_time(lambda: _ask(uri, experiment, again), _CHECK_TIMEOUT_S, again):
        message = f"{without_credentials(uri)}: {fault}{_through(uri)}; {way_out}"
        raise InputError([Fault("--tracking-uri", message)])


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Raises a redirection as an `HTTPError`: it may lead to a login page."""

    def redirect_request(self, *args: Any) -> None:
        """Follow none."""


def _ask(uri: str, experiment: str, again: threading.Event) -> str | None:
    """Return what is wrong with the server; None if it may be MLflow's.

    Sets `again` before a second request.
    """
    url = without_credentials(uri).rstrip("/") + _CHECK_PATH + quote(experiment, safe="")
    try:
        urlsplit(uri).port  # noqa: B018 - raises if it is not a number.
        proxies = urllib.request.ProxyHandler(_proxies(uri))
        opener = urllib.request.build_opener(_NoRedirect, proxies)
        status, body = _get(opener, url)
        if status == HTTPStatus.UNAUTHORIZED and is_known(uri):
            if (login := login_of(uri)) is None:
                return f"it wants a login; {WAYS_IN}"
            if fault := login.fault():
                return fault
            again.set()
            status, body = _get(opener, url, login.header)
            if status == HTTPStatus.UNAUTHORIZED:
                return f"it refuses {login.source}"
        return _judge(status, body, uri, experiment)
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = getattr(error, "reason", error)
        if isinstance(why, ssl.SSLCertVerificationError):
            return None  # MLflow has its own settings for certificates.
        if isinstance(why, TimeoutError):
            return no_answer(_CHECK_TIMEOUT_S)
        return getattr(why, "strerror", None) or reason(why, uri)


def _get(opener: urllib.request.OpenerDirector, url: str, login: str = "") -> tuple[int, bytes]:
    """Return status and body of an answer, also of a refusal."""
    try:
        request = urllib.request.Request(url, headers={"Authorization": login} if login else {})
        with opener.open(request, timeout=_CHECK_TIMEOUT_S) as answer:
            return answer.status, answer.read(_MAX_BYTES)
    except urllib.error.HTTPError as error:
        return error.code, error.read(_MAX_BYTES)


def _judge(status: int, body: bytes, uri: str, experiment: str) -> str | None:
    login = status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) or 300 <= status < 400
    answer = f"{status} {http.client.responses.get(status, '')}".strip()
    if status >= 500:
        return f"it answers {answer}"
    with suppress(ValueError):
        content = json.loads(body)
        if isinstance(content, dict) and content.keys() & {"experiment", "error_code"}:
            found = content.get("experiment") or {}
            if found.get("lifecycle_stage") != "deleted":
                return None
            return deleted_fault(uri, experiment, found.get("experiment_id"))
    return None if login else f"the answer ({answer}) is not from an MLflow server"
