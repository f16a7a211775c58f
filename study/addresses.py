"""Tracking URIs as they may be shown: without passwords, and as something to click on."""

import shutil
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from study.view import address
from tl_core.errors import InputError

_PATIENCE_S = 5.0


def without_credentials(uri: str) -> str:
    """Return the URI without user and password, fit to be shown and stored."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def store_name(uri: str) -> str:
    """What tells a store from others, from any folder; without credentials."""
    path = uri.removeprefix("sqlite:///")
    return f"sqlite:///{Path(path).resolve()}" if path != uri else without_credentials(uri)


def reason(error: Exception, uri: str) -> str:
    """First line of the error, which may quote the URI, without user and password."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    credentials, at, _ = urlsplit(uri).netloc.rpartition("@")
    return line.replace(credentials + at, "") if at else line


def is_server(uri: str) -> bool:
    """Whether the URI names a server, and not a database or folder."""
    return uri.startswith(("http://", "https://"))


def check_server(uri: str) -> None:
    """Raise `InputError` in seconds if nobody listens where the URI points to."""
    parts = urlsplit(uri)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), _PATIENCE_S).close()
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or str(error)
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
