"""The private parts of Ray that a study touches. What a release of Ray lacks is left alone."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import ray
from ray._private import utils
from ray._private.node import Node
from ray.job_config import JobConfig

from study.errors import NodeError
from tl_core.runtime import project_path

_UNUSED = ("start_monitor", "start_api_server", "start_log_monitor")
"""What starts Ray's autoscaler, its web pages, and what reads the workers' logs."""
_STARTS = 3
_LATE = ("timed out during startup", "Timed out waiting for file")
"""How Ray says that its processes were not up in 30 s."""
_log = logging.getLogger(__name__)


def only_what_runs_tasks() -> AbstractContextManager[None]:
    """Start a Ray inside without the processes that no study of one machine uses.

    They are three Python interpreters, which take two seconds of a core to start, and two of them
    listen.
    """
    return _idle(Node, *_UNUSED)


@contextmanager
def keep_sigterm() -> Iterator[None]:
    """Leave SIGTERM to the study while Ray starts inside, and after it.

    One of Ray's handlers ends a study at once, with nothing saved. Another, unseen by Python, calls
    the study's and has an alarm abort the process three seconds later.
    """
    handler, alarm = signal.getsignal(signal.SIGTERM), signal.getitimer(signal.ITIMER_REAL)
    try:
        with _idle(utils, "set_sigterm_handler"):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *alarm)
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _idle(owner: object, *names: str) -> Iterator[None]:
    """Have functions do nothing inside."""
    before = {name: getattr(owner, name) for name in names if hasattr(owner, name)}
    for name in before:
        setattr(owner, name, _nothing)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(owner, name, function)


def _nothing(*_: Any, **__: Any) -> None:
    """Start nothing."""


class _Fixed(list[str]):
    """A list that Ray can't extend."""

    def extend(self, more: object, /) -> None:
        """Leave it as it is."""


def _own_path() -> JobConfig:
    """Have workers find this project's packages first, and nothing in the working folder.

    Ray puts that folder and the script's before all others, and there may be a `study.py` or a
    `random.py`. A release that keeps these folders elsewhere does so here, too.
    """
    config = JobConfig()
    if hasattr(config, "_py_driver_sys_path"):
        config._py_driver_sys_path = _Fixed(project_path())
    return config


def start(gpus: int, cpus: int, folder: Path, end_processes: Callable[[], object]) -> None:
    """Start Ray on this machine, with its files in a folder.

    Ray gives its processes half a minute, which it has no setting for, and a busy machine may take
    longer. Then `end_processes` ends them, and they are started again.

    Raises:
        NodeError: they are late each time, or Ray refuses this machine, as one with little memory.
    """
    for tries_left in reversed(range(_STARTS)):
        try:
            ray.init(
                address="local",
                job_config=_own_path(),
                num_cpus=cpus,
                num_gpus=gpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            return
        except ValueError as error:
            why = " ".join(str(error).split()).rstrip(".")
            raise NodeError(f"Ray can't start here: {why}; its logs are in {folder}") from error
        except Exception as error:  # Ray has no class of its own for this.
            if not any(late in str(error) for late in _LATE):
                raise
            ray.shutdown()
            end_processes()
            if not tries_left:  # The folder stays, for its logs.
                busy = "this machine may be too busy, so try again when it is less so"
                why = f"Ray did not start in time: {busy}; its logs are in {folder}"
                raise NodeError(why) from error
            _log.warning("note: Ray has not started in time; trying again")
