"""A process that attaches decoded images and features beside others; light to import."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tl_core.data.datasets import ImageSet

_PAGE = 4096
_WAIT_S = 120


@dataclass(frozen=True)
class Attached:
    """What one process found."""

    seconds: float
    """Time to attach and touch every page."""
    pss: int
    """Growth of its proportional set size, bytes: a page shared by n processes counts 1/n."""
    checksum: int


def attach(folder: Path, wait: Callable[[float], Any], found: Any) -> None:
    """Attach the data in `folder`, keep them until all processes have measured, put the result."""
    before = own_pss()
    wait(_WAIT_S)
    start = time.perf_counter()
    images, features = open_entry(folder)
    checksum = touch(images, features)
    spent = time.perf_counter() - start
    wait(_WAIT_S)
    grown = own_pss() - before
    wait(_WAIT_S)
    found.put(Attached(spent, grown, checksum))


def open_entry(folder: Path) -> tuple[ImageSet, np.ndarray]:
    """Attach images and features by memory map, as a worker of the study does."""
    features: np.ndarray = np.load(folder / "features.npy", mmap_mode="c")
    return ImageSet.open(folder / "images"), features


def touch(images: ImageSet, features: np.ndarray) -> int:
    """Read one byte of each page; returns their sum."""
    parts = (images.pixels.reshape(-1), features.view(np.uint8).reshape(-1))
    return sum(int(part[::_PAGE].sum(dtype=np.int64)) for part in parts)


def own_pss() -> int:
    """Proportional set size of this process, bytes."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("Pss:"))
    return 1024 * int(line.split()[1])
