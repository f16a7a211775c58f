"""How torch and the C library use this machine's threads and memory."""

import ctypes
import getpass
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tl_core.cgroups import OWN, Cgroups

# glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_MAX_MMAP_THRESHOLD = 32 * 2**20


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


def name_user() -> None:
    """Give a user id without a name one, as `USER`: torch's compiler and others fail without.

    Containers run with ids that their list of users lacks (`docker run --user 1234`).
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = f"uid-{os.getuid()}"


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
