"""Ctrl-C, SIGTERM and a closed terminal: the first signal ends a run in order, the second at once.

The first raises `KeyboardInterrupt`, but never between a record and its line in the ledger. A run
that does not end in time is ended: a library may wait for a process that is gone. A run whose
output nobody reads any more goes on, as its files have everything.
"""

import errno
import functools
import io
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, ParamSpec, TextIO, TypeVar

from study.errors import print_faults, refuse_windows
from tl_core.errors import InputError
from tl_core.files import is_disk_full

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

EXIT_CODE = 130
_INTERRUPTED = "interrupted"
PATIENCE_S = 12.0
"""Seconds from the first signal to the end of the process."""
_SAME_S = 0.25
"""Seconds within which signals count as one: `timeout` sends a process its signal twice."""
# Windows, which is refused in words, has none.
_HANG_UP = getattr(signal, "SIGHUP", signal.SIGTERM)
"""Comes when the terminal is closed: from the kernel, and again from the shell."""
_NUMBERS = (signal.SIGINT, signal.SIGTERM, _HANG_UP)
P = ParamSpec("P")
T = TypeVar("T")


class _Interrupts:
    """The signals that this process has received."""

    def __init__(self) -> None:
        self.received = False
        self.exit_message = _INTERRUPTED
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


def run_command(title: str, work: Callable[[], int]) -> int:
    """Run a command; return its exit code: 2 for an `InputError`, 130 if it is interrupted.

    It is 4 if all went well and some of the standard output had no room on its disk. An interrupt
    is told by what `set_exit_message` was given.

    Args:
        title: printed above the faults of the error.
        work: parses the flags and returns the code, or raises `SystemExit` as argparse does.
    """
    outlast_readers()
    set_exit_message(_INTERRUPTED)
    try:
        code = work() or _output_code()
    except SystemExit as exited:  # Of --help, too.
        raise SystemExit(exited.code or _output_code()) from None
    except InputError as error:
        print_faults(title, error.faults)
        return 2
    except KeyboardInterrupt:
        print(_interrupts.exit_message, file=sys.stderr)
        code = EXIT_CODE
    if code == EXIT_CODE and _output() is not None:  # Python itself takes a moment to end.
        for number in _NUMBERS:  # It would die of another one, not with 130.
            signal.signal(number, signal.SIG_IGN)
    return code


def _output_code() -> int:
    """Tell whether standard output has lost something; return 4 then, else 0."""
    if (output := _output()) is None:
        return 0
    sys.stdout.flush()
    if output.lost:
        print(f"the output had no room on its disk: {output.lost}; it has gaps", file=sys.stderr)
    return 4 if output.lost else 0


@contextmanager
def interruptible() -> Iterator[None]:
    """Handle SIGINT, SIGTERM and SIGHUP inside; `nohup` has the last one ignored.

    Raises `InputError` on Windows, which has no such signals.
    """
    refuse_windows()
    _interrupts.__init__()  # type: ignore[misc]
    before = {number: signal.getsignal(number) for number in _NUMBERS}
    for number, handler in before.items():
        if (number, handler) != (_HANG_UP, signal.SIG_IGN):
            signal.signal(number, _interrupts.handle)
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
    """Set the text that is printed if the command is interrupted, or has to be ended."""
    _interrupts.exit_message = words


class _Lasting(io.FileIO):
    """Takes everything, also when its terminal, or the program that reads it, is gone."""

    unread = False
    """Whether nobody reads any more."""
    lost = ""
    """Why some of it could not be written, if so."""

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write; leave out what a full disk has no room for; once nobody reads, write nowhere."""
        try:
            return super().write(data)
        except OSError as error:
            if is_disk_full(error):  # There may be room again for what is said later.
                self.lost = str(error.strerror)
                return memoryview(data).nbytes
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            self.unread = True
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return memoryview(data).nbytes


def outlast_readers() -> None:
    """Have standard output and errors of this process take everything until it ends.

    Otherwise the first line after its terminal is closed would end a study in the background with a
    traceback, as would a line into a file on a full disk, and `| head` would end it with nothing
    said.
    """
    if sys.stdout is sys.__stdout__ and sys.stdout:  # Tests and notebooks put others there.
        sys.stdout = _lasting(sys.stdout)
    if sys.stderr is sys.__stderr__ and sys.stderr:
        sys.stderr = _lasting(sys.stderr)


def nobody_reads() -> bool:
    """Whether the program that has read standard output is gone, as `head` is after ten lines."""
    output = _output()
    return output is not None and output.unread


def _output() -> _Lasting | None:
    """Standard output, if it takes everything."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw if isinstance(raw, _Lasting) else None


def _lasting(stream: TextIO) -> TextIO:
    stream.flush()
    try:
        file = io.BufferedWriter(_Lasting(stream.fileno(), "w", closefd=False))
    except OSError:  # Closed: `>&-`.
        return stream
    lines = stream.isatty() or stream is sys.__stderr__
    return io.TextIOWrapper(file, stream.encoding, stream.errors, line_buffering=lines)


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
        if number[0] not in _NUMBERS:
            continue
        if first is None:
            first = time.monotonic()
        elif number[0] != _HANG_UP and time.monotonic() - first > _SAME_S:
            end_now()


def end_now() -> None:
    """End this process at once, without clean-up that could hang; its files are written."""
    print(_interrupts.exit_message, file=sys.stderr, flush=True)
    os._exit(EXIT_CODE)
