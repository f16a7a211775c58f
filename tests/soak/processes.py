"""The processes of one study, told from those of any other by the folder of its Ray."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def processes(home: Path) -> Iterator[int]:
    """Ids of all that were started with `RAY_TMPDIR` naming this folder, the driver among them."""
    mark = f"RAY_TMPDIR={home}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # It has ended, or is somebody else's.
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)


def left_over(home: Path, wait_s: float = 0) -> list[int]:
    """Ids of all that still run after at most `wait_s`."""
    end = time.monotonic() + wait_s
    while (there := list(processes(home))) and time.monotonic() < end:
        time.sleep(0.2)
    return there


def workers(home: Path) -> list[int]:
    """Those that run a trial, or wait for one."""
    return [i for i in processes(home) if title(i).startswith("ray::ImplicitFunc")]


def training(home: Path) -> list[int]:
    """Those that run a trial."""
    return [i for i in processes(home) if title(i).startswith("ray::ImplicitFunc.train")]


def senders(home: Path) -> list[int]:
    """Those that write to MLflow."""
    return [i for i in processes(home) if "\0study.delivery\0" in title(i)]


def kill_all(home: Path) -> None:
    """End all of them at once, as a machine that loses its power does."""
    for process in processes(home):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def title(process: int) -> str:
    """Its command line, or what it calls itself; empty once it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text(errors="replace")
    except OSError:
        return ""
