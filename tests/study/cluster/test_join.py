"""What answers at an address is reported in the words of the flag, without Ray's own lines."""

import re
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch

from study.cluster.join import NO_HEAD, _head_fault, head_fault, join, settle_worker, version_fault
from tests.support.study_fixtures import Patch
from tl_core.errors import InputError

TOKEN = (
    "have here, in ~/.ray/auth_token or in RAY_AUTH_TOKEN, what the head has in its "
    "~/.ray/auth_token"
)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """HOST:PORT where something listens that says nothing, and a token to send it."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    with closing(socket.create_server(("127.0.0.1", 0))) as door:
        yield f"127.0.0.1:{door.getsockname()[1]}"


def test_joining_asks_first_and_prints_nothing(
    silent: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def init(**_: object) -> None:
        raise AssertionError("Ray would try for minutes")

    monkeypatch.setattr("ray.init", init)
    # Ray has this machine's own address for 127.0.0.1, where nothing listens.
    with pytest.raises(InputError, match=f"^--address {silent}: {NO_HEAD}$"):
        join(silent)
    assert capfd.readouterr() == ("", "")


def test_an_address_is_named_as_it_was_typed(nobody: str) -> None:
    address = nobody.removeprefix("http://")
    why = re.escape(f"--address {address}: no Ray answers there: Connection refused")
    with pytest.raises(InputError, match=f"^{why}$"):
        join(address)


AUTO_GONE = "no Ray answers at RAY_ADDRESS, else at the address of the last ray start"
RPC_ERROR = "ray.exceptions.RpcError: Timed out while waiting for GCS to become available."
REFUSED = "ray.exceptions.AuthenticationError: InvalidAuthToken: of two\nlines"


@pytest.mark.parametrize(("address", "mode", "code", "errors", "why"), [
    ("h:1", "token", 0, "Connected", None),
    ("h:1", "token", 1, RPC_ERROR, NO_HEAD),
    ("auto", "token", 1, RPC_ERROR, AUTO_GONE),
    (
        "auto", "token", 1, "ConnectionError: Could not find any running Ray instance. Please",
        "no Ray runs on this machine; ray start starts one, or joins one",
    ),
    ("h:1", "", 1, REFUSED, f"the head wants a token: set RAY_AUTH_MODE=token, and {TOKEN}"),
    (
        "h:1", "token", 1, REFUSED,
        f"RAY_AUTH_MODE=token, and the token is not the head's: {TOKEN}",
    ),
    ("h:1", "", -6, "ASSERTION\nFAILED\n", "Ray ends while it asks the head: FAILED"),
    ("h:1", "", -6, "", "Ray ends while it asks the head: exit code -6"),
])  # fmt: skip
def test_what_ray_s_command_says_is_put_plainly(
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    mode: str,
    code: int,
    errors: str,
    why: str | None,
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    assert _head_fault(address, code, errors) == why


@pytest.mark.integration
def test_a_ray_without_the_command_leaves_it_to_ray_init(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed = ("-m", "ray.scripts.scripts", "health-check-of-old")
    monkeypatch.setattr("study.cluster.join._HEALTH_CHECK", renamed)
    assert head_fault(silent) is None


def test_a_missing_token_is_a_fault(
    silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert head_fault(silent) == f"RAY_AUTH_MODE=token, and there is no token: {TOKEN}"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nowhere")
    why = "RAY_AUTH_TOKEN_PATH=/nowhere can't be read: No such file or directory"
    assert head_fault(silent) == f"{why}: {TOKEN}"


def test_a_version_fault_names_the_node_and_both_versions() -> None:
    wanted = (("python", "3.11.7"), ("torch", "2.14.1"), ("ray", "2.60.0"))
    assert version_fault("10.0.0.2", wanted, wanted) is None
    found = (("python", "3.12.1"), ("torch", "2.14.1"), ("ray", "none"))
    assert version_fault("10.0.0.2", wanted, found) == (
        "node 10.0.0.2 has python 3.12.1 where the driver has 3.11.7, "
        "ray none where the driver has 2.60.0: install constraints.txt there"
    )


def test_a_worker_has_one_thread_whatever_a_job_script_says(monkeypatch: Patch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setattr("ray.get_gpu_ids", list)
    torch.set_num_threads(2)
    assert settle_worker(()).type == "cpu"
    assert torch.get_num_threads() == 1
