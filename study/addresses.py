"""Tracking URIs as they may be shown: without passwords, and as something to click on."""

import re
import shlex
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from study.defaults import DEFAULTS
from study.view import address

OFFLINE = (
    "--offline keeps the records in the run's folder, to be sent with python study/sync.py NAME"
)
"""The way out when a store can't be had."""


def without_credentials(uri: str) -> str:
    """Return the URI without user and password, fit to be shown and stored."""
    credentials = _credentials(uri)
    return uri.replace(f"//{credentials}@", "//", 1) if credentials else uri


def _credentials(uri: str) -> str:
    """Return what stands before the host, with no @ at its end."""
    scheme = re.match(r"[^/?#]*//", uri)
    if not scheme:
        return ""
    rest = uri[scheme.end() :]
    try:
        urlsplit(uri).port  # noqa: B018 - raises if it is none.
    except ValueError:
        return rest.rpartition("@")[0]  # A password may hold a slash that is not escaped.
    return re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")[0]


def store_name(uri: str) -> str:
    """What tells a store from others, from any folder; without credentials."""
    path = uri.removeprefix("sqlite:///")
    return f"sqlite:///{Path(path).resolve()}" if path != uri else without_credentials(uri)


def reason(error: Exception, uri: str) -> str:
    """First line of the error, which may quote the URI, without user and password."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    if credentials := _credentials(uri):
        for told in (credentials, unquote(credentials)):
            line = line.replace(f"{told}@", "")
    return line


def is_server(uri: str) -> bool:
    """Whether the URI names a server, and not a database or folder."""
    return uri.startswith(("http://", "https://"))


def sync_command(folder: Path) -> str:
    """The command that sends what a study's ledger holds to MLflow."""
    default = folder.resolve().parent == DEFAULTS["out"].resolve()
    name = folder.name if default else str(folder)
    return shlex.join(["python", "study/sync.py", name])


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
