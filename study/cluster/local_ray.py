"""Ray on this machine, for one study: up before its first task, down when it ends."""

import functools
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
from unittest import mock

import ray
from ray._private import services

from study.cluster.resources import usable_cpus

_TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"


@contextmanager
def local_ray(gpus: int, cpus: int | None = None) -> Iterator[None]:
    """Start Ray on the loopback address; `study.cluster.ray_environment` has set the environment.

    Its files lie in a folder that nobody else can enter, and go when it ends: Ray opens its own
    folder, with the sockets that its processes trust, to everybody on the machine.
    """
    # Not Python's own choice: on some systems too long a path for sockets, which get 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="tl", dir=os.environ.get("RAY_TMPDIR", "/tmp")))
    own_token = _give_token(folder)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    # A Ctrl-C, or what `timeout` and systemd send, reaches all processes of a group, and the study
    # can't end in order without its Ray. Ray has no option for this; it does end with the study.
    apart = functools.partial(services.ConsolePopen, process_group=0)
    with mock.patch.object(services, "ConsolePopen", apart):
        ray.init(  # If it fails, its folder stays: the message names a log in it.
            address="local",
            num_cpus=cpus or usable_cpus(),
            num_gpus=gpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(folder / "ray"),
        )
    signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own would end the study with nothing saved.
    try:
        yield
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray has undone it, unseen by Python.
        shutil.rmtree(folder, ignore_errors=True)
        if own_token:
            del os.environ[_TOKEN_PATH]


def _give_token(folder: Path) -> bool:
    """Have Ray ask for a token of this run alone, unless the user has one, or wants none."""
    asked = os.environ.get("RAY_AUTH_MODE") == "token"
    if not asked or "RAY_AUTH_TOKEN" in os.environ or _TOKEN_PATH in os.environ:
        return False
    path = folder / "token"
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(_token())
    os.environ[_TOKEN_PATH] = str(path)
    return True


@cache
def _token() -> str:
    """One for all: a process hands Ray the first that it has read to the end of its life."""
    return secrets.token_hex(32)
