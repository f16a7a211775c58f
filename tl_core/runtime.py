"""How torch and the C library use this machine's threads and memory."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
