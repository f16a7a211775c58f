"""How torch and the C library use this machine's threads and memory."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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


def usable_cpus(
    cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int:
    """CPU cores that this process may use: those of its affinity, and not more than its quota.

    Containers, systemd and cluster managers set a quota on a group of processes (cgroup): so much
    time on any core. Threads beyond it only wait for each other.

    Args:
        cgroups: where the kernel shows the groups.
        own: names the group of this process.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min([cores or 1, *map(int, _quotas(cgroups, own))]))


def _quotas(cgroups: Path, own: Path) -> Iterator[float]:
    """Yield the quotas of this process's group and of those above it, in cores."""
    with suppress(OSError):
        for line in own.read_text(encoding="utf-8").splitlines():
            number, controllers, path = line.split(":", 2)
            if number != "0" and "cpu" not in controllers.split(","):
                continue
            top = cgroups if number == "0" else cgroups / "cpu"
            group = top / path.strip("/")
            # In a container, the path may be that on its host.
            for folder in dict.fromkeys((group, *group.parents, top)):
                if folder.is_relative_to(top):
                    yield from _quota_of(folder)


def _quota_of(group: Path) -> Iterator[float]:
    with suppress(OSError, ValueError):  # Version 2: `max 100000` without a quota.
        quota, period = map(int, (group / "cpu.max").read_text(encoding="utf-8").split())
        yield quota / period
    with suppress(OSError, ValueError):  # Version 1: -1 without a quota.
        quota = int((group / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
        period = int((group / "cpu.cfs_period_us").read_text(encoding="utf-8"))
        if quota > 0:
            yield quota / period


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
