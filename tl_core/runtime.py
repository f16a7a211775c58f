"""How torch and the C library use this machine: threads, memory, and what torch compiles."""

import ctypes
import gc
import getpass
import os
import site
import stat
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from tl_core.cgroups import OWN, Cgroups
from tl_core.errors import Fault, InputError

# glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_MAX_MMAP_THRESHOLD = 32 * 2**20
_RARELY = 100_000
"""New objects after which Python looks for garbage; by default 700."""
_FOLDERS = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}
"""Variables of the environment that name the folders, and what these are called here."""
PRIVATE_OPTIONS: dict[str, str | int | bool | Callable[..., Any]] = {
    "cpp_cache_precompile_headers": False
}
"""Options of `torch.compile` beside `use_private_cache`: headers that are compiled for CPU cores
would be in everybody's `/tmp` all the same. A core then compiles for 1.3 times as long."""
_ROOT = Path(__file__).resolve().parents[1]
_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


def keep_freed_memory() -> None:
    """Tell glibc to keep freed blocks; does nothing under another C library.

    By default glibc maps each large tensor anew and unmaps it when it is freed, so the kernel
    zeroes its pages in every step. Where page faults are slow, as on virtual machines, a CPU step
    of EfficientNet-Lite0 then takes 1.3 to 1.7 times as long.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 256 * 2**20)
        mallopt(_M_MMAP_THRESHOLD, _MAX_MMAP_THRESHOLD)


@contextmanager
def rarely_collecting() -> Iterator[None]:
    """Have Python look for garbage rarely while a program starts.

    Imports make a million objects that stay. To look through them again and again takes a tenth of
    their time. Those that are there at the end are never looked through, so garbage among them
    stays.
    """
    often = gc.get_threshold()
    gc.set_threshold(_RARELY, *often[1:])
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(*often)


def name_user() -> None:
    """Give a user id without a name one, as `USER`: torch's compiler and others fail without.

    Containers run with ids that their list of users lacks (`docker run --user 1234`).
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = f"uid-{os.getuid()}"


def project_path() -> list[str]:
    """The folder of this project's packages, to go before all others.

    None if they are installed beside other packages: these would go before Python's own modules.
    """
    installed = [*site.getsitepackages(), site.getusersitepackages()]
    return [] if _ROOT in map(Path.resolve, map(Path, installed)) else [str(_ROOT)]


def module_process(module: str, *given: str) -> tuple[list[str], dict[str, str]]:
    """Command and environment of a process that runs a module of this project.

    It finds this project's packages first, and nothing in the working folder, which an empty entry
    of `PYTHONPATH` means.
    """
    given_path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = os.pathsep.join(filter(None, [*project_path(), *given_path]))
    return [sys.executable, "-P", "-m", module, *given], os.environ | {"PYTHONPATH": path}


def usable_cpus(groups: Cgroups = OWN) -> int:
    """CPU cores that this process may use: those of its affinity, and not more than its quota.

    A quota is so much time on any core (`tl_core.cgroups`). Threads beyond it only wait for each
    other.
    """
    quota = groups.cpu_quota()
    return affinity() if quota is None else max(1, min(affinity(), int(quota)))


def affinity() -> int:
    """CPU cores that this process may run on: `taskset`, Slurm and cpusets choose them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_cpus(groups: Cgroups = OWN) -> str:
    """What bounds the cores that this process may use; nothing if it may use all."""
    cores, quota = os.cpu_count() or 1, groups.cpu_quota()
    parts = [f"affinity {affinity()} of {cores} cores"] if affinity() < cores else []
    parts += [f"quota {quota:g} cores"] if quota is not None and quota < affinity() else []
    return ", ".join(parts)


def processes_of_user() -> Iterator[Path]:
    """Yield the folder in /proc of each process of this user."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # It has ended.
            if folder.stat().st_uid == os.getuid():
                yield folder


def in_order(
    pool: Executor, work: Callable[[_Item], _Made], items: Iterable[_Item], ahead: int
) -> Iterator[_Made]:
    """Yield what `work` makes of item after item; `ahead` items beside the next one are begun.

    `pool.map` begins all, which takes 2 kB an item. At the end, or at an error, what no thread has
    begun is cancelled.
    """
    begun = deque[Future[_Made]]()
    try:
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) > ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch compute with one thread, as workers do that share a machine."""
    import torch  # Not above: entry points call `keep_freed_memory` before they import torch.

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def use_private_cache(cache: Path) -> None:
    """Have the compiler use a folder below `cache` that no other user can read or write.

    It runs and unpickles what it finds there. Its own choice is a folder of everybody's `/tmp`,
    with a name that anybody can take first. A folder that the environment names is used as it is.

    Raises:
        InputError: the folder is another user's, or none.
    """
    folder = cache / f"compiled-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid():
        why = f"{folder} must be a folder of user {os.getuid()}, as its files are run; remove it"
        raise InputError([Fault("--compile", f"keeps what it makes in --cache: {why}")])
    folder.chmod(0o700)
    for variable, name in _FOLDERS.items():
        os.environ.setdefault(variable, str(folder / name))
