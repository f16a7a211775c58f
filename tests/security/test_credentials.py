"""Nothing that a study prints or leaves has the password of its tracking store."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from study.config.uris import is_server
from study.tracking.client import check_server
from study.tracking.writer import MlflowWriter
from tests.conftest import QUICK
from tests.support.study_fixtures import Capture, Patch, Run
from tl_core.errors import InputError

SECRET, ESCAPED = "hush/7f@3a", "hush%2F7f%403a"
PARTS = ("hush", "7f@3a", "7f%403a", "2F7f")
"""Any of them would give the password away."""


class Refusing(BaseHTTPRequestHandler):
    """Refuses every login, and repeats the password in its answer."""

    def do_GET(self) -> None:
        body = f"no user me with password {SECRET} in {self.headers['Authorization']}".encode()
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def refusing() -> Iterator[str]:
    """URI of a server that refuses every login."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://me:{ESCAPED}@127.0.0.1:{server.server_port}"
        server.shutdown()


def assert_hidden(*texts: str) -> None:
    assert [part for part in PARTS if part in "".join(texts)] == []


def assert_hidden_in(folder: Path) -> None:
    for file in folder.rglob("*"):
        assert_hidden(str(file.relative_to(folder)))
        if file.is_file():
            assert_hidden(file.read_bytes().decode("latin-1"))


@pytest.mark.parametrize("password", [SECRET, ESCAPED])
@pytest.mark.parametrize("uri", [
    "ftp://me:{}@127.0.0.1/x",
    "http://me:{}@no-such-host.invalid:5000", "http://me:{}@127.0.0.1:9", "https://{}@127.0.0.1:9/",
    "sqlite:////dev/null/mlflow.db?password={}", "postgresql://me:{}@127.0.0.1/db",
    "postgresql://127.0.0.1/db?user=me&password={}", "mysql+pymysql://me:{}@127.0.0.1/db",
    "mssql+pyodbc:///?odbc_connect=SERVER%3D127.0.0.1%3BUID%3Dme%3BPWD%3D{}",
    "databricks://me:{}@127.0.0.1", "me:{}@127.0.0.1:5000",
])  # fmt: skip
def test_errors_of_an_unusable_store(capfd: Capture, uri: str, password: str) -> None:
    uri = uri.format(password)
    for function in (check_server, MlflowWriter) if is_server(uri) else (MlflowWriter,):
        with pytest.raises(InputError, match=r"^--tracking-uri ") as caught:
            function(uri, "tl-study")
        assert_hidden(str(caught.value), *capfd.readouterr())


@pytest.mark.parametrize(("files", "why"), [
    ("", "it refuses the user and password of the URI; "),
    ("/dev/null", "401"),  # MLflow's client may have another login: it is refused itself.
])  # fmt: skip
def test_a_refused_login(
    run_alone: Run, photo_folder: Path, capfd: Capture, refusing: str, files: str, why: str,
    monkeypatch: Patch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", files)
    assert run_alone("--data", photo_folder, *QUICK, "--tracking-uri", refusing) == 2
    printed, errors = capfd.readouterr()
    assert f"--tracking-uri http://{refusing.rpartition('@')[2]}: " in errors
    assert why in errors
    assert_hidden(printed, errors)
    assert_hidden_in(Path())


def test_a_mistyped_flag(run_alone: Run, capfd: Capture) -> None:
    with pytest.raises(SystemExit, match="2"):
        run_alone("--tracking_uri", f"http://me:{SECRET}@host", f"--uri=http://me:{ESCAPED}@host")
    errors = capfd.readouterr().err
    assert (
        "unrecognized arguments: --tracking_uri http://host --uri=http://host (did you " in errors
    )
    assert_hidden(errors)


def test_options_of_a_store(run_alone: Run, photo_folder: Path, capfd: Capture, uri: str) -> None:
    words = ("--data", photo_folder, *QUICK, "--tracking-uri", f"{uri}?password={ESCAPED}")
    assert run_alone(*words) == 0
    printed, errors = capfd.readouterr()
    assert f" --backend-store-uri {uri}\n" in printed
    assert_hidden(printed, errors)
    names = {file.name for file in Path().rglob("*") if file.is_file()}
    assert {"study.json", "ledger.jsonl", "mlflow.json", "mlflow.db"} <= names
    assert_hidden_in(Path())
