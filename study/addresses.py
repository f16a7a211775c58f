"""Tracking URIs as they may be shown: without passwords, and as something to click on."""

import re
import shutil
import socket
import sys
from pathlib import Path
from urllib.parse import quote, unquote, unquote_plus, urlsplit

from study.view import address
from tl_core.errors import InputError

_PATIENCE_S = 5.0
_PLAIN = re.compile(
    r"(sqlite|file)[\w+]*:///"  # A path, in which an @ is an @.
    r"|[\w.+:-]+://(\[[^]]*]|[^/?#@:]*)(:\d*)?([/#][^?@]*)?(\?|$)"  # Host, port, path.
)
"""How a URI without user and password begins."""


def without_credentials(uri: str) -> str:
    """Return the URI without user, password and options, fit to be shown and stored."""
    scheme, _, place, _ = _parts(uri)
    return scheme + place


def _parts(uri: str) -> tuple[str, str, str, str]:
    """Split into scheme, user and password, place, and options, which may hold a password too.

    A password should be escaped. Of one that is not, as it has a `/` or `@` in it, nothing is left
    in the place either; nor is what stands before an `@` in a server's path.
    """
    scheme, mark, rest = uri.partition("://") if "://" in uri else ("", "", uri)
    user, _, place = rest.rpartition("@")
    if _PLAIN.match(uri) or not (mark or ":" in user):
        user, place = "", rest
    place, _, options = place.partition("?")
    return scheme + mark, user, place, options


def _secrets(uri: str) -> set[str]:
    """What no message may quote: as it is in the URI, as it is meant, and as it should be."""
    _, user, _, options = _parts(uri)
    written = {user, user.partition(":")[2], options, *re.findall(r"=([^&;]*)", options)}
    meant = {decode(each) for each in written for decode in (unquote, unquote_plus)}
    meant |= set(re.findall(r"=([^&;=]*)", unquote_plus(options)))  # Of ODBC's, one holds all.
    # Who takes a password for a path may quote a part of it.
    parts = {part for each in written | meant for part in each.split("/") if len(part) > 3}
    return (written | meant | parts | {quote(each, safe="") for each in meant}) - {""}


def store_name(uri: str) -> str:
    """What tells a store from others, from any folder; without credentials."""
    shown = without_credentials(uri)
    path = shown.removeprefix("sqlite:///")
    return f"sqlite:///{Path(path).resolve()}" if path != shown else shown


def reason(error: Exception, uri: str) -> str:
    """First line of the error, which may quote the URI, without user and password."""
    text = str(error).replace(uri, without_credentials(uri))
    for secret in sorted(_secrets(uri), key=len, reverse=True):
        text = text.replace(secret, "***")
    return (text.strip() or type(error).__name__).splitlines()[0]


def is_server(uri: str) -> bool:
    """Whether the URI names a server, and not a database or folder."""
    return uri.startswith(("http://", "https://"))


def check_server(uri: str) -> None:
    """Raise `InputError` in seconds if nobody listens where the URI points to."""
    try:
        parts = urlsplit(uri)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), _PATIENCE_S).close()
    except ValueError as error:  # It may quote a password that was taken for a port.
        told = "is no http://HOST or http://HOST:PORT; in a password, write / as %2F and @ as %40"
        raise InputError([f"--tracking-uri {without_credentials(uri)} {told}"]) from error
    except OSError as error:
        told = error.strerror or reason(error, uri)
        raise InputError([f"--tracking-uri {without_credentials(uri)}: {told}"]) from error


def where_to_look(uri: str, experiment_id: str, view_key: str | None = None) -> str:
    """The command that starts MLflow's pages, and the address that opens the trials in them."""
    view = address(experiment_id, view_key)
    if is_server(uri):
        return f"compare trials: {without_credentials(uri).rstrip('/')}/{view}"
    # Beside this Python, if the virtual environment is not activated.
    mlflow = "mlflow" if shutil.which("mlflow") else Path(sys.executable).with_name("mlflow")
    return (
        f"compare trials: {mlflow} ui --backend-store-uri {without_credentials(uri)}\n"
        f"          then: http://127.0.0.1:5000/{view}"
    )
