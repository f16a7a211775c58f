"""What answers at an address is told in the words of the flag, without Ray's own lines."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from study.cluster.head_probe import NO_HEAD, ask
from study.cluster.join import join
from tests.support.programs import guarded_head
from tl_core.errors import InputError

TOKEN = (
    "have here, in ~/.ray/auth_token or in RAY_AUTH_TOKEN, what the head has in its "
    "~/.ray/auth_token"
)


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token, as Ray wants to have one before it asks anybody."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)


@pytest.fixture
def silent() -> Iterator[str]:
    """HOST:PORT where something listens that says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as door:
        yield f"127.0.0.1:{door.getsockname()[1]}"


@pytest.mark.usefixtures("token")
def test_what_is_no_head_is_told(silent: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert ask(silent) == NO_HEAD
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("token")
def test_joining_asks_first(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: object) -> None:
        raise AssertionError("Ray would try for minutes")

    monkeypatch.setattr("ray.init", init)
    why = "what answers there is no Ray head, or a busy one; its address is what ray start printed"
    with pytest.raises(InputError, match=f"^--address {silent}: {why}, HOST:6379 as a rule$"):
        join(silent)


def test_an_address_is_told_as_it_was_typed(nobody: str) -> None:
    address = nobody.removeprefix("http://")
    told = re.escape(f"--address {address}: no Ray answers there: Connection refused")
    with pytest.raises(InputError, match=f"^{told}$"):
        join(address)


def test_what_listens_at_this_machine_alone_is_no_head(
    silent: str, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = nobody.removeprefix("http://")  # As Ray has another address for 127.0.0.1.
    monkeypatch.setattr("ray._private.services.canonicalize_bootstrap_address", lambda _: other)
    with pytest.raises(InputError, match=f"^--address {silent}: what answers there is no Ray head"):
        join(silent)
    with pytest.raises(InputError, match=f"^--address auto: no Ray answers at {other}: "):
        join("auto")


def test_a_token_that_is_not_there_is_told(
    silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ask(silent) == f"RAY_AUTH_MODE=token, and there is no token: {TOKEN}"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nowhere")
    assert str(ask(silent)).startswith("RAY_AUTH_TOKEN_PATH is set but file cannot be opened")


def test_a_ray_that_ends_is_told(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of two\nlines")
    assert str(ask(silent)).startswith("Ray ends while it asks the head: ")


@pytest.mark.integration
def test_a_head_with_a_token_lets_in_who_has_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, guarded_head.__file__, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=250,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "nothing": f"the head wants a token: set RAY_AUTH_MODE=token, and {TOKEN}",
        "no token": f"RAY_AUTH_MODE=token, and there is no token: {TOKEN}",
        "another token": f"RAY_AUTH_MODE=token, and the token is not the head's: {TOKEN}",
        "the token": None,
    }
