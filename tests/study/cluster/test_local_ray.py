"""Nobody gets into a study's Ray: it listens on this machine alone, and asks for a token."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray._private import utils

from study.cluster.local_ray import _children_in_own_groups, _give_token, local_ray
from study.cluster.ray_environment import set_ray_environment
from study.errors import NodeError
from study.signals import interruptible
from tests.support.programs import guarded_ray, hooked_ray, stopped_ray
from tests.support.sockets import listening
from tests.support.studies.ray_runs import FinishedStudy, RayRun


@pytest.fixture
def ray_variables(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a user who has said nothing of Ray."""
    left = {n: v for n, v in os.environ.items() if not n.startswith(("RAY_", "TUNE_"))}
    monkeypatch.setattr(os, "environ", left)
    return left


@pytest.mark.parametrize("given", ["127.0.0.1", "0.0.0.0", "::1", "::"])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_sockets_that_listen_are_found(given: str, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET6 if ":" in given else socket.AF_INET, kind) as door:
        door.bind((given, 0))
        if kind == socket.SOCK_STREAM:
            door.listen()
        name = str(Path(f"/proc/self/fd/{door.fileno()}").readlink())
        found = listening([os.getpid()])[name]
    assert str(found) == given
    assert found.is_loopback == given.endswith("1")


@pytest.mark.parametrize(("said", "error", "told"), [
    ("The current node timed out during startup.", NodeError, "Ray did not start in time: this "),
    ("something else", RuntimeError, "something else"),
])  # fmt: skip
def test_a_ray_that_is_not_up_in_time_is_told_in_words(
    ray_variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str,
    error: type[Exception], told: str,
) -> None:  # fmt: skip
    def fail(**_: object) -> None:
        raise RuntimeError(said)

    ray_variables["RAY_TMPDIR"] = str(tmp_path)
    monkeypatch.setattr("ray.init", fail)
    with pytest.raises(error, match=told), local_ray(0):
        pass
    assert len([*tmp_path.iterdir()]) == 1  # Its logs stay.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_ray_starts_leaves_nothing(
    ray_variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:  # fmt: skip
    started: list[subprocess.Popen[bytes]] = []

    def interrupted(**_: object) -> None:
        utils.set_sigterm_handler(sys.exit)  # type: ignore[no-untyped-call]
        started.append(subprocess.Popen(["sleep", "60"], env=os.environ))
        signal.raise_signal(number)
        time.sleep(60)

    ray_variables["RAY_TMPDIR"] = str(tmp_path)
    set_ray_environment()
    monkeypatch.setattr("ray.init", interrupted)
    with pytest.raises(KeyboardInterrupt), interruptible(), local_ray(0):
        pass
    assert started[0].wait(10) == -signal.SIGKILL
    assert [*tmp_path.iterdir()] == []
    assert "RAY_AUTH_TOKEN_PATH" not in os.environ


def test_an_interrupt_before_ray_starts_leaves_nothing(
    ray_variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        assert [*tmp_path.iterdir()]
        raise KeyboardInterrupt

    ray_variables["RAY_TMPDIR"] = str(tmp_path)
    monkeypatch.setattr("study.cluster.local_ray.end_leftovers", interrupted)
    with pytest.raises(KeyboardInterrupt), local_ray(0, study=Path("mine")):
        pass
    assert [*tmp_path.iterdir()] == []


def test_what_the_user_says_of_ray_is_kept(ray_variables: dict[str, str]) -> None:
    ray_variables["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "1"
    set_ray_environment()
    assert ray_variables["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "1"
    assert ray_variables["RAY_AUTH_MODE"] == "token"
    assert ray_variables["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0"


@pytest.mark.parametrize(
    "given",
    [{"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": "mine"}, {"RAY_AUTH_TOKEN_PATH": "/mine"}],
)
def test_a_token_is_made_for_those_who_have_none(
    ray_variables: dict[str, str], tmp_path: Path, given: dict[str, str]
) -> None:
    ray_variables |= given
    set_ray_environment()
    assert not _give_token(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert {name: os.environ[name] for name in given} == given
    for name in given:
        del ray_variables[name]
    set_ray_environment()
    assert _give_token(tmp_path)
    (path,) = tmp_path.iterdir()
    assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_token_never_goes_into_a_file_that_is_there(
    ray_variables: dict[str, str], tmp_path: Path
) -> None:
    set_ray_environment()
    (tmp_path / "token").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        _give_token(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_ctrl_c_does_not_reach_the_processes_of_ray() -> None:
    def leads_a_group() -> bool:
        code = "import os; print(os.getpgrp() == os.getpid())"
        # With a `preexec_fn`, as Ray starts its own.
        done = subprocess.run(
            [sys.executable, "-c", code], preexec_fn=int, capture_output=True, text=True
        )
        return done.stdout == "True\n"

    assert not leads_a_group()
    with _children_in_own_groups():
        assert leads_a_group()
    assert not leads_a_group()


@pytest.mark.integration
def test_a_study_listens_on_the_loopback_address_alone(finished_study: FinishedStudy) -> None:
    listened = finished_study.listened
    # Of Ray: the global store, the node, its store of objects, who makes environments, the driver.
    assert len(listened) >= 5
    assert {str(address) for address in listened.values() if not address.is_loopback} == set()


@pytest.mark.integration
def test_a_study_leaves_no_file_of_its_ray(finished_study: FinishedStudy) -> None:
    left = finished_study.files_left
    assert not {name for name in left if name == ".ray" or name.startswith("tl")}


@pytest.mark.integration
def test_nobody_gets_in_without_the_token(ray_run: RayRun, own_folder: Path) -> None:
    program = ray_run.start(own_folder, program=guarded_ray.__file__)
    printed = ray_run.succeed(program)
    seen = json.loads(printed)
    strangers = seen["strangers"]
    assert strangers.pop("the token") == "inside"
    assert strangers["no token"].startswith("ray.exceptions.AuthenticationError: ")
    refused = "ConnectionError: Failed to connect to Ray cluster at 127.0.0.1:"
    assert strangers["nothing"].startswith(refused)
    assert strangers["another token"].startswith(refused)
    faults = seen["faults"]
    assert faults["the token"] is None
    assert faults["nothing"].startswith("the head wants a token: set RAY_AUTH_MODE=token, and ")
    assert faults["no token"].startswith("RAY_AUTH_MODE=token, and there is no token: ")
    assert faults["another token"].startswith("RAY_AUTH_MODE=token, and the token is not the head")
    assert seen["modes"] == ["0o700", "0o600"]
    assert len(seen["token"]) == 64
    assert (seen["on command lines"], seen["left"], seen["again"]) == (False, False, "inside")


@pytest.mark.integration
@pytest.mark.parametrize("when", ["up", "starting"])
def test_sigterm_leaves_the_time_to_clean_up(ray_run: RayRun, when: str) -> None:
    process = ray_run.start(when, program=stopped_ray.__file__)
    if when == "up":
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
    code, printed, errors = ray_run.finish(process)
    assert (code, printed) == (130, "cleaned up\n"), errors
    if when == "up":  # Else Ray tells it, as it had the signal then.
        assert errors == ""
    assert ray_run.left_over(wait_s=20) == {}
    assert [*ray_run.home.iterdir()] == []


@pytest.mark.integration
def test_a_worker_finds_this_project_and_a_hook_may_give_it_a_folder(
    ray_run: RayRun, own_folder: Path
) -> None:
    (own_folder / "given.py").touch()
    process = ray_run.start(own_folder, program=hooked_ray.__file__, cwd=own_folder)
    printed = ray_run.succeed(process)
    seen = json.loads(printed)
    assert seen["plain"][0] == str(Path(__file__).parents[3])
    assert not {seen["script"], str(own_folder)} & {*seen["plain"]}
    assert any("working_dir" in folder for folder in seen["hooked"])
