"""Is there an MLflow server where a URI points to? Asked in seconds, and without MLflow."""

import http.client
import json
import ssl
import threading
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from study.config.uris import OFFLINE, reason, without_credentials
from tl_core.errors import Fault, InputError

_PATIENCE_S = 4.0
_QUESTION = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=tl-study"
_MOST_BYTES = 1 << 20
_REFUSALS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


def check_server(uri: str, way_out: str = OFFLINE) -> None:
    """Raise `InputError` within seconds unless an MLflow server answers there, or may do so.

    `way_out` ends the error's text. The server is asked without user and password: whether it
    takes them is for MLflow to find out.
    """
    wrong: list[str | None] = []
    # In a thread: to look up a name, or to get an answer byte by byte, may take for ever.
    asking = threading.Thread(target=lambda: wrong.append(_ask(uri)), daemon=True)
    asking.start()
    asking.join(_PATIENCE_S)
    if why := wrong[0] if wrong else _late():
        raise InputError([Fault("--tracking-uri", f"{without_credentials(uri)}: {why}; {way_out}")])


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nobody, who may ask for a password first."""

    def redirect_request(self, *args: Any) -> None:
        """Have a redirection raised as an `HTTPError`."""


def _ask(uri: str) -> str | None:
    """Return what is wrong there; None if MLflow may be, and will tell what it needs."""
    url = without_credentials(uri).rstrip("/") + _QUESTION
    try:
        urlsplit(uri).port  # noqa: B018 - raises if it is none.
        with urllib.request.build_opener(_Stay).open(url, timeout=_PATIENCE_S) as answer:
            return _judge(answer.status, answer.read(_MOST_BYTES))
    except urllib.error.HTTPError as error:
        return _judge(error.code, error.read(_MOST_BYTES))
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = getattr(error, "reason", error)
        if isinstance(why, ssl.SSLCertVerificationError):
            return None  # MLflow has settings of its own for this.
        if isinstance(why, TimeoutError):
            return _late()
        return getattr(why, "strerror", None) or reason(why, uri)


def _late() -> str:
    return f"no answer in {_PATIENCE_S:g} s"


def _judge(status: int, body: bytes) -> str | None:
    if status in _REFUSALS or 300 <= status < 400:
        return None
    reason = f"{status} {http.client.responses.get(status, '')}".strip()
    if status >= 500:
        return f"it answers {reason}"
    return None if _is_mlflow(body) else f"what answers there ({reason}) is no MLflow server"


def _is_mlflow(body: bytes) -> bool:
    try:
        told = json.loads(body)
    except ValueError:
        return False
    return isinstance(told, dict) and bool(told.keys() & {"experiment", "error_code"})
