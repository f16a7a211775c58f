"""The login that MLflow's client will send to a server, as far as that is known without MLflow."""

import base64
import os
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from urllib.parse import unquote, urlsplit

USER, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
TOKEN = "MLFLOW_TRACKING_TOKEN"
WAYS_IN = f"set {USER} and {PASSWORD}, or {TOKEN}"
_PLUGINS = (
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_AWS_SIGV4",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
)
"""Variables that have MLflow's client log in by other means."""
_HEADERS = "mlflow.request_header_provider"
"""Installed packages with such an entry point may add a login to each request."""
_FILES = (".mlflow/credentials", ".netrc", "_netrc")
"""Files in the home folder that MLflow's client, and its HTTP library, take logins from."""
_URI_ENCODING = "latin-1"
"""How that library sends the login of a URI; MLflow sends that of the environment as UTF-8."""


@dataclass(frozen=True)
class Login:
    """A value of the header `Authorization`."""

    source: str
    """Where it comes from, in words; the only part that may be shown."""
    header: str = field(repr=False)

    def fault(self) -> str | None:
        """Why it can't be sent; libraries would quote it in their errors."""
        if self.header.isprintable() and self.header.isascii() and self.header[-1] != " ":
            return None
        return f"{self.source} has letters that no header can have, such as the end of a line"


def is_known(uri: str) -> bool:
    """Whether nothing but the URI and three variables of the environment has a login."""
    if any(os.environ.get(name) for name in (*_PLUGINS, "NETRC")) or entry_points(group=_HEADERS):
        return False
    # Not pathlib: it fails where there is no home, and where that can't be entered.
    if any(os.path.exists(os.path.expanduser(f"~/{name}")) for name in _FILES):  # noqa: PTH110, PTH111
        return False
    try:
        ":".join(_in_uri(uri)).encode(_URI_ENCODING)
    except UnicodeEncodeError:
        return False
    return True


def login_of(uri: str) -> Login | None:
    """The login that comes with a URI, else that of the environment, in MLflow's order.

    `is_known` says whether there may be another.
    """
    if found := _in_uri(uri):
        return Login("the user and password of the URI", _basic(*found, _URI_ENCODING))
    user, password = os.environ.get(USER, ""), os.environ.get(PASSWORD, "")
    if user and password:
        source = f"the user and password of {USER} and {PASSWORD}"
        return Login(source, _basic(user, password, "utf-8"))
    if token := os.environ.get(TOKEN):
        return Login(f"the token of {TOKEN}", f"Bearer {token}")
    return None


def _in_uri(uri: str) -> tuple[str, str] | tuple[()]:
    """User and password of a URI as the HTTP library takes them: both, of which one may be empty.

    It does not take a user without a colon.
    """
    parts = urlsplit(uri)
    if parts.username is None or parts.password is None or not (parts.username or parts.password):
        return ()
    return unquote(parts.username), unquote(parts.password)


def _basic(user: str, password: str, encoding: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode(encoding)).decode()}"
