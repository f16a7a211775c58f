"""Tracking URIs as they may be shown: without passwords, and as something to click on."""

import re
import shlex
from pathlib import Path
from urllib.parse import quote, unquote, unquote_plus

from study.config.defaults import DEFAULTS

OFFLINE = (
    "--offline keeps the records in the run's folder, to be sent with python study/sync.py NAME"
)
"""The way out when a store can't be had."""
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


def sync_command(folder: Path) -> str:
    """The command that sends what a study's ledger holds to MLflow."""
    default = folder.resolve().parent == DEFAULTS["out"].resolve()
    name = folder.name if default else str(folder)
    return shlex.join(["python", "study/sync.py", name])
