"""The login that MLflow's client will send to a server, as far as that is known without MLflow."""

import base64
import os
from dataclasses import dataclass, field
from pathlib import Path
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
_FILES = (".mlflow/credentials", ".netrc", "_netrc")
"""Files in the home folder that MLflow's client, and its HTTP library, take logins from."""


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


def is_known() -> bool:
    """Whether nothing but the URI and three variables of the environment has a login."""
    if any(os.environ.get(name) for name in (*_PLUGINS, "NETRC")):
        return False
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - pathlib fails where there is no home.
    return not any((home / name).exists() for name in _FILES)


def login_of(uri: str) -> Login | None:
    """The login that comes with a URI, else that of the environment, in MLflow's order."""
    parts = urlsplit(uri)
    if parts.username:
        user, password = unquote(parts.username), unquote(parts.password or "")
        return Login("the user and password of the URI", _basic(user, password))
    user, password = os.environ.get(USER, ""), os.environ.get(PASSWORD, "")
    if user and password:
        return Login(f"the user and password of {USER} and {PASSWORD}", _basic(user, password))
    if token := os.environ.get(TOKEN):
        return Login(f"the token of {TOKEN}", f"Bearer {token}")
    return None


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
