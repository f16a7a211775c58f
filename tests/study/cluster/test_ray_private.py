"""What is replaced in Ray is there in this release, and is put back."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from ray._private import utils
from ray._private.node import Node
from ray.job_config import JobConfig

from study.cluster.ray_private import _UNUSED, _own_path, keep_sigterm, only_what_runs_tasks, start
from study.errors import NodeError


def test_a_ray_starts_no_process_that_no_study_uses() -> None:
    before = {name: getattr(Node, name) for name in _UNUSED}
    with only_what_runs_tasks():
        for name in _UNUSED:
            assert getattr(Node, name)(None, include_dashboard=False) is None
    assert {name: getattr(Node, name) for name in _UNUSED} == before


def test_a_release_without_one_of_them_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Node, "start_monitor")
    with only_what_runs_tasks():
        assert not hasattr(Node, "start_monitor")
    assert not hasattr(Node, "start_monitor")


def test_sigterm_stays_the_study_s(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with keep_sigterm():
        utils.set_sigterm_handler(print)  # type: ignore[no-untyped-call]
    assert signal.getsignal(signal.SIGTERM) is before
    try:
        utils.set_sigterm_handler(signal.SIG_IGN)  # type: ignore[no-untyped-call]
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def alarm_in(seconds: float) -> Iterator[None]:
    before = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)


@pytest.mark.parametrize("seconds", [0, 500])
def test_an_alarm_of_ray_s_is_off_and_the_caller_s_stays(seconds: int) -> None:
    with alarm_in(seconds):
        with suppress(KeyboardInterrupt), keep_sigterm():
            signal.alarm(3)  # As Ray does once it has a SIGTERM.
            raise KeyboardInterrupt
        left, _ = signal.getitimer(signal.ITIMER_REAL)
    assert (left == 0) if seconds == 0 else (400 < left <= 500)


def test_workers_get_the_folder_of_this_project_alone() -> None:
    config = _own_path()
    config._py_driver_sys_path.extend(["/script", "/here"])  # As `ray.init` does.
    assert config._py_driver_sys_path == [str(Path(__file__).parents[3])]
    assert not config._client_job


def test_a_release_that_keeps_the_folders_elsewhere_gets_a_plain_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def init(self: JobConfig) -> None:
        self.metadata = {}

    monkeypatch.setattr(JobConfig, "__init__", init)
    assert vars(_own_path()) == {"metadata": {}}


def test_a_ray_that_refuses_the_machine_is_told_in_its_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def init(**_: object) -> None:
        raise ValueError("The minimum allowed\nis 75 MB.")

    monkeypatch.setattr("ray.init", init)
    told = "^Ray can't start here: The minimum allowed is 75 MB; its logs are in rays$"
    with pytest.raises(NodeError, match=told):
        start(1, 2, Path("rays"), lambda: None)


LATE = "The current node timed out during startup."
NO_PORT = "Timed out waiting for file /tmp/tl/session/gcs_server_port_1"


@pytest.mark.parametrize(("late", "said"), [(0, ""), (2, LATE), (3, LATE), (1, NO_PORT)])
def test_a_busy_machine_gets_more_time_to_start(
    late: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []
    reasons = [said] * late

    def init(**given: object) -> None:
        done.append((given["num_gpus"], given["num_cpus"]))
        if reasons:
            raise Exception(reasons.pop())  # As Ray does.

    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr("ray.shutdown", lambda: done.append("down"))
    asked = 1, 2, Path("rays"), lambda: done.append("ended")
    if late == 3:
        with pytest.raises(NodeError, match=r"did not start in time: .*; its logs are in rays"):
            start(*asked)
    else:
        start(*asked)
    assert done == [(1, 2), "down", "ended"] * late + [(1, 2)] * (late < 3)
