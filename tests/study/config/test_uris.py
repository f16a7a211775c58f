from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.config.uris import (
    folder_of_runs,
    reason,
    store_name,
    with_credentials,
    without_credentials,
)


@pytest.mark.parametrize(("uri", "shown"), [
    ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
    ("http://me:secret@host:5000/x?y=1", "http://host:5000/x"),
    ("http://[::1]:5000/x", "http://[::1]:5000/x"),
    ("postgresql://host/db?user=me@work&password=secret", "postgresql://host/db"),
    ("uc:http://me:secret@host", "uc:http://host"),
    ("sqlite:////home/me:a@work/mlflow.db?timeout=9", "sqlite:////home/me:a@work/mlflow.db"),
    ("sqlite+pysqlcipher://:secret@/mlflow.db", "sqlite+pysqlcipher:///mlflow.db"),
    ("postgresql:///db?host=/run/pg&password=secret", "postgresql:///db"),
    ("mssql+pyodbc:///?odbc_connect=SERVER%3Dx%3BPWD%3Dsecret", "mssql+pyodbc:///"),
    ("databricks://profile", "databricks://profile"), ("https://token@host", "https://host"),
    # Not as they should be written, or not URIs at all.
    ("https://se/cret@host/", "https://host/"), ("http://me:s@e/cret@host/", "http://host/"),
    ("http:///me:secret@host", "http://host"), ("me:secret@host:5000", "host:5000"),
    ("runs@work/mlflow.db", "runs@work/mlflow.db"), ("http://me:secret@[::1", "http://[::1"),
    ("http://me:sec@ret@host/", "http://host/"), ("http://me:se#c?@host/", "http://host/"),
    ("http://me:se/c#r?t@host:5000/x", "http://host:5000/x"),
])  # fmt: skip
def test_without_credentials(uri: str, shown: str) -> None:
    assert without_credentials(uri) == shown


@pytest.mark.parametrize(("uri", "name"), [
    ("./my runs", "file://HERE/my%20runs"), ("file:my%20runs", "file://HERE/my%20runs"),
    ("file:///my%20runs", "file:///my%20runs"), ("sqlite:///a.db", "sqlite:///HERE/a.db"),
    ("sqlite:////a.db", "sqlite:////a.db"), ("databricks", "databricks"), ("", ""),
    ("http://me:secret@host:5000", "http://host:5000"),
])  # fmt: skip
def test_the_name_of_a_store_is_the_same_in_any_folder(
    uri: str, name: str, own_folder: Path
) -> None:
    found = store_name(uri)
    assert found == name.replace("HERE", str(own_folder))
    assert store_name(found) == found
    if uri == "./my runs":
        assert folder_of_runs(found) == own_folder / "my runs"


@pytest.mark.parametrize(("own", "store", "found"), [
    ("", "http://host:5000", "http://host:5000"),
    ("http://me:secret@host:5000", "http://host:5000", "http://me:secret@host:5000"),
    ("http://me:secret@other:5000", "http://host:5000", "http://host:5000"),
])  # fmt: skip
def test_credentials_of_the_environment_are_for_its_own_store(
    own: str, store: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", own)
    assert with_credentials(store) == found


@pytest.mark.parametrize(("message", "shown"), [
    ("", "OSError"),
    ("http://me:s%40cret@host:5000 is down\nand more", "http://host:5000 is down"),
    ("login of me:s@cret@host has failed", "login of ***@host has failed"),
])  # fmt: skip
def test_reason_is_one_line_without_the_password(message: str, shown: str) -> None:
    assert reason(OSError(message), "http://me:s%40cret@host:5000") == shown


@pytest.mark.parametrize("uri", [
    "postgresql://me:se%2Fcr%40et@host/db",
    "postgresql://me:se/cr@et@host/db",
    "postgresql://host/db?user=me&password=se%2Fcr%40et",
    "mssql+pyodbc:///?odbc_connect=SERVER%3Dx%3BUID%3Dme%3BPWD%3Dse/cr@et",
    "https://se%2Fcr%40et@host",
])  # fmt: skip
def test_no_reason_quotes_the_password(uri: str) -> None:
    for quoted in (uri, uri.partition("//")[2], "se/cr@et", "se%2Fcr%40et", "me:se/cr@et"):
        text = reason(OSError(f"no login for {quoted!r}, sorry"), uri)
        assert text.startswith("no login for '")
        assert not any(part in text for part in ("se/", "cr@", "%2Fcr", "%40et"))


@settings(deadline=None, max_examples=50)
@given(
    password=st.text(st.characters(codec="ascii", min_codepoint=33), min_size=3),
    host=st.sampled_from(["host", "host:5000", "[::1]:80"]),
)
def test_no_password_is_ever_shown(password: str, host: str) -> None:
    escaped = quote(password, safe="")
    for uri in (f"http://me:{escaped}@{host}/x", f"postgresql://{host}/x?password={escaped}"):
        assert without_credentials(uri) == f"{uri.partition(':')[0]}://{host}/x"
        text = reason(OSError(f"Login: {password!s} or {escaped}."), uri)
        assert text == "Login: *** or ***."
