"""Tracking URIs without credentials, and the texts about them.

SQLAlchemy's `hide_password` is not enough: it keeps the options, a token without a password, and
parts of a password that is not escaped, and refuses URIs that are not a database's.
"""

import re
import shlex
from pathlib import Path
from urllib.parse import quote, unquote, unquote_plus

from study.config.defaults import from_environment
from study.config.program import command
from tl_core.files import is_there

OFFLINE = (
    "--offline keeps the records in the run's folder, to be sent with "
    f"{shlex.join([*command('sync'), 'NAME'])}"
)
"""The end of an error about a store: how to run without it."""
SQLITE = "sqlite:///"
DATABRICKS = ("databricks", "databricks-uc")
_NO_FOLDERS = (*DATABRICKS, "uc")
_PLAIN = re.compile(
    r"(sqlite|file)[\w+]*:///"  # A path, which may have an @.
    r"|[\w.+:-]+://(\[[^]]*]|[^/?#@:]*)(:\d*)?([/#][^?@]*)?(\?|$)"  # Host, port, path.
)
"""The start of a URI without user and password."""


def without_credentials(uri: str) -> str:
    """Return the URI without user, password and options, to show and to store."""
    scheme, _, place, _ = _parts(uri)
    return scheme + place


def with_placeholder(uri: str) -> str:
    """Return the URI for a command to type: USER:PASSWORD stands for the ones it has, if any."""
    scheme, user, place, _ = _parts(uri)
    return f"{scheme}USER:PASSWORD@{place}" if user else scheme + place


def _parts(uri: str) -> tuple[str, str, str, str]:
    """Split into scheme, user and password, place, and options, which may hold a password, too.

    A password should be escaped. If it is not, and has a `/` or `@`, no part of it is in the place,
    and neither is the text before an `@` in a server's path.
    """
    scheme, mark, rest = uri.partition("://") if "://" in uri else ("", "", uri)
    user, _, place = rest.rpartition("@")
    if _PLAIN.match(uri) or not (mark or ":" in user):
        user, place = "", rest
    place, _, options = place.partition("?")
    return scheme + mark, user, place, options


def _secrets(uri: str) -> set[str]:
    """The texts that no message may quote: as in the URI, decoded, and escaped."""
    _, user, _, options = _parts(uri)
    written = {user, user.partition(":")[2], options, *re.findall(r"=([^&;]*)", options)}
    decoded = {decode(each) for each in written for decode in (unquote, unquote_plus)}
    # One option of ODBC has all others in it.
    decoded |= set(re.findall(r"=([^&;=]*)", unquote_plus(options)))
    # A library that takes a password for a path may quote a part of it.
    parts = {part for each in written | decoded for part in each.split("/") if len(part) > 3}
    return (written | decoded | parts | {quote(each, safe="") for each in decoded}) - {""}


def store_name(uri: str) -> str:
    """Return the URI that identifies a store in any folder, without credentials."""
    shown = without_credentials(uri)
    if folder := folder_of_runs(shown):
        return folder.resolve().as_uri()
    path = shown.removeprefix(SQLITE)
    return f"{SQLITE}{Path(path).resolve()}" if path != shown else shown


def with_credentials(store: str) -> str:
    """Return the URI of the environment if it names this store, else that of the store.

    A study keeps its URI without user, password and options.
    """
    own = from_environment().get("tracking_uri")
    return own if own and store_name(own) == store_name(store) else store


def reason(error: Exception, uri: str) -> str:
    """Return the first line of an error, which may quote the URI, without its secrets."""
    text = str(error).replace(uri, without_credentials(uri))
    for secret in sorted(_secrets(uri), key=len, reverse=True):
        text = text.replace(secret, "***")
    return (text.strip() or type(error).__name__).splitlines()[0]


def is_server(uri: str) -> bool:
    """Whether the URI names a server, and not a database or folder."""
    return uri.startswith(("http://", "https://"))


def is_database(uri: str) -> bool:
    """Whether the URI names a database that has a server, as MLflow takes them."""
    return re.match(r"(postgresql|mysql|mssql)(\+\w+)?://", uri) is not None


def sqlite_file(uri: str) -> Path | None:
    """Return the file of an SQLite URI; None for other stores, and for one in memory.

    SQLAlchemy 2.1 and newer decode `%20` in the path.
    """
    name = unquote(uri.removeprefix(SQLITE).partition("?")[0])
    return Path(name) if uri.startswith(SQLITE) and name not in ("", ":memory:") else None


def folder_of_runs(uri: str) -> Path | None:
    """Return the folder that a URI names: MLflow takes any text without a scheme for one."""
    scheme, mark, path = uri.partition(":")
    if mark and scheme == "file":
        return Path(unquote(re.sub("^//[^/]*", "", path)))
    has_scheme = re.match(r"[a-zA-Z][\w+.-]*:", uri)
    return None if has_scheme or uri in ("", *_NO_FOLDERS) else Path(uri)


def lost_place(store: str) -> Path | None:
    """The file or folder that keeps a store on this machine, if the folder around it is gone."""
    place = sqlite_file(store) or folder_of_runs(store)
    return place if place and place.is_absolute() and not is_there(place.parent) else None
