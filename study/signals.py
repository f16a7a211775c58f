"""Ctrl-C and SIGTERM: the first ends a run in order, the second at once.

The first raises `KeyboardInterrupt`, but never between a record and its line in the ledger. A run
that does not end in time is ended: a library may wait for a process that is gone.
"""

import functools
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import ParamSpec, TypeVar

EXIT_CODE = 130
PATIENCE_S = 12.0
"""Seconds from the first signal to the end of the process."""
_SAME_S = 0.25
"""Seconds within which signals count as one: `timeout` sends a process its signal twice."""
P = ParamSpec("P")
T = TypeVar("T")


class _Interrupts:
    """The signals that this process has received."""

    def __init__(self) -> None:
        self.received = False
        self.exit_message = "interrupted"
        self.held = 0
        self.waiting = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.received:
            return  # `_watch` ends the process.
        self.received = True
        if self.held:
            self.waiting = True
        else:
            raise KeyboardInterrupt


_interrupts = _Interrupts()


@contextmanager
def interruptible() -> Iterator[None]:
    """Handle SIGINT and SIGTERM inside."""
    _interrupts.__init__()  # type: ignore[misc]
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, _interrupts.handle) for number in numbers}
    with _watch():
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def uninterruptible(function: Callable[P, T]) -> Callable[P, T]:
    """Have an interrupt wait until the function has returned."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        _interrupts.held += 1
        try:
            return function(*args, **kwargs)
        finally:
            _interrupts.held -= 1
            if _interrupts.waiting and not _interrupts.held:
                _interrupts.waiting = False
                raise KeyboardInterrupt

    return run


def set_exit_message(words: str) -> None:
    """Set the text that is printed if the run has to be ended."""
    _interrupts.exit_message = words


@contextmanager
def _watch() -> Iterator[None]:
    """Watch signals in a thread: the main thread may be inside a library that waits."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    old = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    thread = threading.Thread(target=_end_in_time, args=(reader,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(old)
        os.close(writer)
        thread.join()
        os.close(reader)


def _end_in_time(numbers: int) -> None:
    """End this process at the second signal, or when it takes too long after the first."""
    first: float | None = None
    while True:
        left = None if first is None else max(0.0, first + PATIENCE_S - time.monotonic())
        if not select.select([numbers], [], [], left)[0]:
            end_now()
        number = os.read(numbers, 1)
        if not number:
            return  # Nobody handles signals any more.
        if number[0] not in (signal.SIGINT, signal.SIGTERM):
            continue
        if first is None:
            first = time.monotonic()
        elif time.monotonic() - first > _SAME_S:
            end_now()


def end_now() -> None:
    """End this process at once, without clean-up that could hang; its files are written."""
    print(_interrupts.exit_message, file=sys.stderr, flush=True)
    os._exit(EXIT_CODE)
