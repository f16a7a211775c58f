"""A few of a study's pictures, decoded to see whether that works, and how long it takes."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tl_core.data.datasets import ImageSet, image_entry, unreadable
from tl_core.data.sources import Source

_LONG_S = 1.5
"""Seconds after which the rate is known."""
_MOST = 256
Bad = list[tuple[str, str]]
"""Name and reason of each that can't be decoded."""


@dataclass(frozen=True)
class Undecoded:
    """What is still to be decoded."""

    number: int
    per_s: float
    """Decoded a second, on all cores."""


def try_decoding(source: Source, size: int, cache: Path) -> tuple[Undecoded | None, Bad]:
    """Return what is to be decoded, None if the cache has it, and which can't be.

    Of a set that is not decoded yet, as many are tried, all over it, as show how long that takes.
    """
    entry = image_entry(source, size, cache)
    if entry.exists():
        left_out = {name for name, _ in ImageSet.open(entry).bad}
        again = [i for i, name in enumerate(source.ids) if name in left_out]
        return None, unreadable(source, size, again)
    n = len(source.ids)
    order = np.random.default_rng(0).permutation(n)[:_MOST].tolist()
    bad = unreadable(source, size, order[:1])  # Pillow prepares its decoders for the first one.
    per_s, more = _timed(source, size, order[1:])
    return Undecoded(n, per_s), bad + more


def _timed(source: Source, size: int, order: list[int]) -> tuple[float, Bad]:
    start, done, bad = time.perf_counter(), 0, Bad()
    at_once = 4 * (os.cpu_count() or 1)
    while done < len(order) and time.perf_counter() - start < _LONG_S:
        bad += unreadable(source, size, order[done : done + at_once])
        done = min(len(order), done + at_once)
    return done / (time.perf_counter() - start), bad
