"""The images of all other parts: drawn here, as a bare machine has none and no network."""

import time
from collections.abc import Iterator

import numpy as np

from benchmarks.common import write_entry
from benchmarks.gpu.check import Check, GpuBench
from benchmarks.speed.bench import tile
from tl_core.data.datasets import ImageSet
from tl_core.data.demo import CLASSES, draw


def images(bench: GpuBench) -> Iterator[Check]:
    """Draw some images, and repeat them to two data sets and a folder of files."""
    start, (drawn, small, large, files) = (
        time.perf_counter(),
        bench.pick((200, 20, 125, 40), (20, 2, 4, 20)),
    )
    home = bench.scratch / "cache" / "images"
    once = _drawn(bench, drawn)
    tile(once, small, home / "small")
    tile(once, large, home / "large")
    for i in range(files):
        folder = bench.photos / CLASSES[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        draw(i, 64).save(folder / f"{i:03d}.png")
    spent = time.perf_counter() - start
    yield Check(f"{drawn * (small + large):,} images of {bench.side} px drawn", spent, "s")


def _drawn(bench: GpuBench, n: int) -> ImageSet:
    entry = bench.scratch / "drawn"
    entry.mkdir()
    pictures = (draw(i, bench.side) for i in range(n))
    pixels = np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in pictures])
    np.save(entry / "pixels.npy", pixels)
    brightness = (pixels.mean(axis=(1, 2, 3)) / 255).astype(np.float32)
    about = {"name": "drawn", "classes": list(CLASSES)}
    write_entry(entry, np.arange(n) % 2, brightness, [f"{i:05d}" for i in range(n)], about)
    return ImageSet.open(entry)
