"""The private parts of Ray that a study touches. What a release of Ray lacks is left alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray._private.node import Node

_UNUSED = ("start_monitor", "start_api_server", "start_log_monitor")
"""What starts Ray's autoscaler, its web pages, and what reads the workers' logs."""


@contextmanager
def only_what_runs_tasks() -> Iterator[None]:
    """Start a Ray inside without the processes that no study of one machine uses.

    They are three Python interpreters, which take two seconds of a core to start, and two of them
    listen.
    """
    before = {name: getattr(Node, name) for name in _UNUSED if hasattr(Node, name)}
    for name in before:
        setattr(Node, name, _nothing)
    try:
        yield
    finally:
        for name, start in before.items():
            setattr(Node, name, start)


def _nothing(*_: Any, **__: Any) -> None:
    """Start nothing."""
