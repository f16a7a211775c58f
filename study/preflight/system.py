"""What a study needs of the operating system: a folder for Ray, files and processes."""

import errno
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from rich.filesize import decimal

from study.cluster.folders import folder_faults
from study.cluster.ray_environment import RAY_TMPDIR, ray_base
from study.preflight.setup import Setup
from study.search.confirmation import max_confirm_trials
from tl_core.cgroups import OWN
from tl_core.errors import Fault
from tl_core.runtime import processes_of_user, usable_cpus

_SOCKET_BYTES = 107
"""Longest path of a socket on Linux."""
_IN_FOLDER = "/tlXXXXXXXX/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest path of Ray's sockets below its folder."""
_ROOM = 100 * 10**6
"""Bytes that Ray's logs and files take."""
_SHM = Path("/dev/shm")
_LOOPBACK, _ANSWER_S = "127.0.0.1", 2.0
_DOWN = (errno.ENETUNREACH, errno.EADDRNOTAVAIL)
"""Errors of a loopback address that is down, or absent."""
_FILES, _FILES_EACH = 256, 16
"""Open files of one process, and more of them for each worker: twice what Ray's node opens."""
_TASKS, _TASKS_EACH = 250, 30
"""Processes and threads of a study: 175, and 24 for each worker, on two cores."""


_ADDRESSES, _WITHOUT_CUDA, _ADDRESSES_EACH = 4 * 10**9, 15 * 10**8, 5 * 10**7
"""Bytes of addresses that no study does without: those of the libraries, with a torch that has
CUDA's or one that has not, and those of each core's threads. Imports take 4.1 GB on two cores."""
_OF_OBJECTS = 0.27
"""Share of the free memory that Ray maps for its objects in each process: 0.3 of what is free when
it starts, which is less by then."""
_MOST_OBJECTS, _LARGE_OBJECTS, _OF_SHM = 200 * 10**9, 10**10, 0.95
"""What Ray maps at most: it takes no more than this share of /dev/shm, unless that is small."""


def check_system(setup: Setup) -> Iterator[Fault]:
    """Libraries fit into the address space; Ray can put its files and reach its processes."""
    yield from address_faults()
    if setup.settings.address == "local" and not setup.settings.debug:
        yield from ray_folder_faults()
        if setup.settings.networks:  # One that learns takes workers.
            yield from loopback_faults()
        else:
            _note(setup, loopback_faults())


def check_limits(setup: Setup) -> Iterator[Fault]:
    """The limits of this process suffice for the workers; soft ones are raised.

    Those whose networks learn are known. Whether workers make features or long sweeps depends on
    the cache and on how long that takes, so too low a limit for these is a note.
    """
    s = setup.settings
    if s.debug or s.address != "local" or setup.resources is None:
        return
    if s.networks:
        # What follows the search may run all at once.
        jobs = max(setup.capacity.searching(s), max_confirm_trials(s))
        workers = min(setup.capacity.full, jobs)
        faults = [*limit_faults(workers), *address_faults(ray=True)]
        yield from faults
        if faults:
            return
    if s.mode != ("scratch",):
        makers = setup.gpus or min(setup.resources.cpus, s.jobs or setup.resources.cpus)
        if setup.network and not setup.gpus:
            # Not above: it imports torch, which quick checks do without.
            from study.preflight.memory import feature_makers

            makers = feature_makers(s, setup.resources, setup.network.network)
        _note(setup, limit_faults(makers, by_jobs=bool(s.networks)))


def _note(setup: Setup, faults: Iterable[Fault]) -> None:
    setup.notes += tuple(f"if workers make features or sweeps: {fault}" for fault in faults)


def ray_folder_faults() -> Iterator[Fault]:
    """Why Ray can't put its sockets and logs where it is told to: into `RAY_TMPDIR`, or /tmp."""
    folder = ray_base()
    flag = RAY_TMPDIR if os.environ.get(RAY_TMPDIR) else f"set {RAY_TMPDIR}, as"
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


def loopback_faults() -> Iterator[Fault]:
    """Why processes of this machine can't reach each other: Ray would try for minutes."""
    try:
        with socket.create_server((_LOOPBACK, 0)) as server:
            socket.create_connection(server.getsockname(), _ANSWER_S).close()
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in _DOWN or isinstance(error, TimeoutError):
            why += "; ip link set lo up, by root, starts it"
        yield Fault(None, f"Ray needs the loopback address {_LOOPBACK}: {why}")


def address_faults(ray: bool = False) -> Iterator[Fault]:
    """Why libraries, and with `ray` its store of objects, don't fit into the address space."""
    import resource  # As in `limit_faults`.

    libraries = _ADDRESSES if find_spec("nvidia") else _WITHOUT_CUDA
    needed = libraries + _ADDRESSES_EACH * usable_cpus()
    if ray:
        from study.preflight.memory import free_memory  # As in `check_limits`.

        needed += min(int(_OF_OBJECTS * (free_memory() or 0)), _most_objects())
    if (sizes := _raised(resource.RLIMIT_AS, needed, fully=True)) is not None:
        allowed, least = map(decimal, sizes)
        why = f"{allowed} of address space are allowed, at least {least} are needed"
        yield Fault(None, f"ulimit -v: {why}; ulimit -v unlimited, which takes no memory by itself")


def _most_objects() -> int:
    """Bytes that Ray's store of objects never exceeds; /dev/shm bounds it."""
    shm = shutil.disk_usage(_SHM).free if _SHM.is_dir() else 0
    return min(_MOST_OBJECTS, max(_LARGE_OBJECTS, int(_OF_SHM * shm)))


def limit_faults(workers: int, by_jobs: bool = True) -> Iterator[Fault]:
    """Why so many workers can't run: too few open files or processes are allowed.

    `by_jobs` says whether `--jobs` bounds them.
    """
    import resource  # Not above: Windows, which `study/run.py` refuses in words, has none.

    if (files := _raised(resource.RLIMIT_NOFILE, _FILES + _FILES_EACH * workers)) is not None:
        allowed, needed = files
        why = f"ulimit -n: {allowed} open files are allowed, {needed} are needed"
        yield Fault(None, f"{why}; ulimit -Hn {needed} or docker run --ulimit nofile={needed}")
    needed = _TASKS + _TASKS_EACH * workers
    fewer = "fewer workers (--jobs) need fewer; " if by_jobs else ""
    binds = os.getuid() != 0  # Root may start as many as it likes.
    if binds and (tasks := _raised(resource.RLIMIT_NPROC, needed + _own_tasks())) is not None:
        allowed, all_of_them = tasks
        why = f"ulimit -u: {allowed} processes and threads are allowed, {all_of_them} are needed"
        why += " with those that you run"
        yield Fault(None, f"{why}; {fewer}ulimit -Hu {all_of_them} allows them")
    left = OWN.processes_left()
    if left is not None and left < needed:
        why = f"{left} more processes and threads may start here, {needed} are needed"
        flag = "--jobs" if by_jobs else None
        yield Fault(flag, f"{workers} workers: {why}; {fewer}docker run --pids-limit allows them")


def _raised(limit: int, needed: int, fully: bool = False) -> tuple[int, int] | None:
    """Raise a soft limit if it is too low; return the hard one and what is needed if that is.

    `fully` raises it to the hard one in any case, as more than what is needed may be used.
    """
    import resource

    soft, hard = resource.getrlimit(limit)
    if not _is_enough(hard, needed):
        return hard, needed
    if fully and soft != hard:
        resource.setrlimit(limit, (hard, hard))
    elif not _is_enough(soft, needed):
        resource.setrlimit(limit, (needed, hard))
    return None


def _is_enough(allowed: int, needed: int) -> bool:
    return allowed < 0 or allowed >= needed  # -1: no limit.


def _own_tasks() -> int:
    """Threads of this user on this machine."""
    tasks = 0
    for folder in processes_of_user():
        with suppress(OSError):
            tasks += len([*(folder / "task").iterdir()])
    return tasks
