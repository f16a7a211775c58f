"""Ray on this machine, for one study: up before its first task, down when it ends."""

import logging
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import ray

from study.cluster.leftovers import PREFIX, RAY_TMPDIR, end_leftovers, mark_owner
from study.cluster.ray_private import only_what_runs_tasks
from tl_core.runtime import usable_cpus

_TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"


@contextmanager
def local_ray(gpus: int, cpus: int | None = None, study: Path | None = None) -> Iterator[None]:
    """Start Ray on the loopback address; `study.cluster.ray_environment` has set the environment.

    Its files lie in a folder that only this user can enter, and go when it ends: Ray opens its own
    folder, with the sockets that its processes trust, to everybody on the machine. What killed runs
    of the `study` in this folder have left is ended first.
    """
    # Not Python's own choice: on some systems too long a path for sockets, which get 107 bytes.
    base = Path(os.environ.get(RAY_TMPDIR, "/tmp"))
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    if study:
        end_leftovers(base, study)
        mark_owner(folder, study)
    own_token = _give_token(folder)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    with _variable(RAY_TMPDIR, str(folder)), _children_in_own_groups(), only_what_runs_tasks():
        ray.init(  # If it fails, its folder stays: the message names a log in it.
            address="local",
            num_cpus=cpus or usable_cpus(),
            num_gpus=gpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own handler ends a study with nothing saved.
    try:
        yield
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray has reset it, unseen by Python.
        shutil.rmtree(folder, ignore_errors=True)
        if own_token:
            del os.environ[_TOKEN_PATH]


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable inside."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


_in_own_groups = False


@contextmanager
def _children_in_own_groups() -> Iterator[None]:
    """Give each process that starts inside a process group of its own.

    Ctrl-C and `timeout` send their signal to all processes of a group, and a study can't end in
    order without its Ray. Ray itself ends with the study.
    """
    global _in_own_groups
    _in_own_groups = True
    try:
        yield
    finally:
        _in_own_groups = False


def _leave_group() -> None:
    if _in_own_groups:
        os.setpgid(0, 0)


# `subprocess` calls it in a new process if it is given a `preexec_fn`, as it is by Ray.
os.register_at_fork(after_in_child=_leave_group)


def _give_token(folder: Path) -> bool:
    """Have Ray ask for a token of this run, unless the user has one or wants none."""
    asked = os.environ.get("RAY_AUTH_MODE") == "token"
    if not asked or "RAY_AUTH_TOKEN" in os.environ or _TOKEN_PATH in os.environ:
        return False
    path = folder / "token"
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(_token())
    os.environ[_TOKEN_PATH] = str(path)
    return True


@cache
def _token() -> str:
    """One for all: Ray keeps the first token that a process has read until the process ends."""
    return secrets.token_hex(32)
