"""What a study needs of the operating system: a folder for Ray, files and processes."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from rich.filesize import decimal

from study.cluster.folders import folder_faults
from study.cluster.ray_environment import RAY_TMPDIR
from study.config.settings import Settings
from study.preflight.setup import Setup
from tl_core.cgroups import OWN
from tl_core.errors import Fault
from tl_core.runtime import usable_cpus

_SOCKET_BYTES = 107
"""Longest path of a socket on Linux."""
_IN_FOLDER = "/tlXXXXXXXX/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest path of Ray's sockets below its folder."""
_ROOM = 100 * 10**6
"""Bytes that Ray's logs and files take."""
_FILES, _FILES_EACH = 256, 16
"""Open files of one process, and more of them for each worker: twice what Ray's node opens."""
_TASKS, _TASKS_EACH = 250, 30
"""Processes and threads of a study: 175, and 24 for each worker, on two cores."""


def check_system(setup: Setup) -> Iterator[Fault]:
    """Ray can put its files, and the limits of this process suffice; soft ones are raised."""
    s = setup.settings
    if s.debug or s.address != "local":
        return
    yield from ray_folder_faults()
    yield from limit_faults(_workers(s))


def _workers(s: Settings) -> int:
    return s.jobs or (s.gpus or 0) * s.trials_per_gpu or usable_cpus()


def ray_folder_faults() -> Iterator[Fault]:
    """Why Ray can't put its sockets and logs where it is told to: into `RAY_TMPDIR`, or /tmp."""
    named = os.environ.get(RAY_TMPDIR)
    folder = Path(named or "/tmp")
    flag = RAY_TMPDIR if named else f"set {RAY_TMPDIR}, as"
    way_out = "name a short path on a disk of this machine, such as RAY_TMPDIR=/var/tmp"
    if not folder.is_dir() or not folder.is_absolute():
        yield Fault(flag, f"{folder}: no such folder, by its full path; {way_out}")
        return
    size, most = len(os.fsencode(folder)), _SOCKET_BYTES - len(_IN_FOLDER)
    if size > most:
        why = f"its path has {size} bytes, and a socket's leaves {most}"
        yield Fault(flag, f"{folder}: {why}; {way_out}")
    elif faults := folder_faults(flag, folder):
        yield from (Fault(f.flag, f"{f.message}; {way_out}") for f in faults)
    elif (free := shutil.disk_usage(folder).free) < _ROOM:
        why = f"{decimal(free)} are free, Ray takes {decimal(_ROOM)}"
        yield Fault(flag, f"{folder}: {why}; make room, or {way_out}")


def limit_faults(workers: int) -> Iterator[Fault]:
    """Why so many workers can't run: too few open files or processes are allowed."""
    import resource  # Not above: Windows, which `study/run.py` refuses in words, has none.

    if (files := _raised(resource.RLIMIT_NOFILE, _FILES + _FILES_EACH * workers)) is not None:
        allowed, needed = files
        why = f"ulimit -n: {allowed} open files are allowed, {needed} are needed"
        yield Fault(None, f"{why}; ulimit -Hn {needed} or docker run --ulimit nofile={needed}")
    needed = _TASKS + _TASKS_EACH * workers
    fewer = "fewer workers (--jobs) need fewer"
    binds = os.getuid() != 0  # Root may start as many as it likes.
    if binds and (tasks := _raised(resource.RLIMIT_NPROC, needed + _own_tasks())) is not None:
        allowed, all_of_them = tasks
        why = f"ulimit -u: {allowed} processes and threads are allowed, {all_of_them} are needed"
        why += f" with those that you run; {fewer}"
        yield Fault(None, f"{why}; ulimit -Hu {all_of_them} allows them")
    left = OWN.processes_left()
    if left is not None and left < needed:
        why = f"{left} more processes and threads may start here, {needed} are needed"
        yield Fault("--jobs", f"{workers} workers: {why}; docker run --pids-limit, or {fewer}")


def _raised(limit: int, needed: int) -> tuple[int, int] | None:
    """Raise a soft limit if it is too low; return the hard one and what is needed if that is."""
    import resource

    soft, hard = resource.getrlimit(limit)
    if not _is_enough(hard, needed):
        return hard, needed
    if not _is_enough(soft, needed):
        resource.setrlimit(limit, (needed, hard))
    return None


def _is_enough(allowed: int, needed: int) -> bool:
    return allowed < 0 or allowed >= needed  # -1: no limit.


def _own_tasks() -> int:
    """Threads of this user on this machine."""
    tasks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if folder.stat().st_uid == os.getuid():
                tasks += len([*(folder / "task").iterdir()])
    return tasks
