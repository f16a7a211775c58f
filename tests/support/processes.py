"""The processes of one study, found by the folder of its Ray."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def processes(home: Path) -> Iterator[int]:
    """Ids of all processes whose `RAY_TMPDIR` is this folder or one in it, the driver's too."""
    mark = f"RAY_TMPDIR={home}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # It has ended, or belongs to another user.
            variables = (folder / "environ").read_bytes().split(b"\0")
            if any(v == mark or v.startswith(mark + b"/") for v in variables):
                yield int(folder.name)


def left_over(home: Path, wait_s: float = 0) -> list[int]:
    """Ids of those that still run after at most `wait_s`."""
    end = time.monotonic() + wait_s
    while (there := list(processes(home))) and time.monotonic() < end:
        time.sleep(0.2)
    return there


def workers(home: Path) -> list[int]:
    """Ids of those that run a trial or wait for one."""
    return [i for i in processes(home) if title(i).startswith("ray::ImplicitFunc")]


def training(home: Path) -> list[int]:
    """Ids of those that run a trial."""
    return [i for i in processes(home) if title(i).startswith("ray::ImplicitFunc.train")]


def senders(home: Path) -> list[int]:
    """Ids of those that write to MLflow."""
    return [i for i in processes(home) if "\0study.tracking.sync_process\0" in title(i)]


def kill_all(home: Path) -> None:
    """Kill all of them at once, as a power failure does."""
    for process in processes(home):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def title(process: int) -> str:
    """The command line of a process, or its own title; empty once it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text(errors="replace")
    except OSError:
        return ""
