"""Decoded images and features on disk: their size, the time to make, attach and read them."""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.common import Row, Tables, figures, median_ms, scratch, seconds
from benchmarks.scaling.memory import draw_entry, write_tables
from tl_core.data.datasets import ImageSet
from tl_core.data.decode import Picture, open_picture, to_square
from tl_core.data.sources import find_source
from tl_core.data.splits import make_split

SIDES = (128, 224)
COUNTS = (2_400, 25_000, 1_200_000)
WIDTHS = {"resnet18": 512, "efficientnet_lite0": 1280, "resnet50": 2048}
"""Features an image, D; `benchmarks.selfcheck` compares them with the networks."""
_BATCH = 32
_PHOTO_SIZES = ((500, 375), (4000, 3000))


def measure(quick: bool) -> Tables:
    """Sizes and times."""
    counts, n_decoded, on_disk_mb = (COUNTS[:2], 5, 20) if quick else (COUNTS, 200, 1_000)
    rates = {side: _decode_rates(side, n_decoded) for side in SIDES}
    usual = "a photo of 500 x 375"
    sizes: list[Row] = [
        {
            "images": n,
            "side_px": side,
            "bytes_an_image": 3 * side**2,
            "disk_gb": figures(3 * side**2 * n / 1e9),
            "decode_core_hours": figures(n / rates[side][usual] / 3600),
        }
        for side in SIDES
        for n in counts
    ]
    return {
        "decoding, one core": [
            {"side_px": side, "from": name, "images_per_s": figures(rate)}
            for side, found in rates.items()
            for name, rate in found.items()
        ],
        f"size, and hours of decoding {usual}": sizes,
        "features": [  # float32
            {"images": n, "backbone": name, "bytes_an_image": 4 * d, "gb": figures(4 * d * n / 1e9)}
            for name, d in WIDTHS.items()
            for n in counts
        ],
        "attaching": [_attach(n, 224) for n in counts],
        "batches of 32 at random": _read_rates(on_disk_mb, 224),
    }


def _decode_rates(side: int, n: int) -> dict[str, float]:
    """Images a second on one core, by source."""
    folders = {"demo, drawn": "demo"}
    if photos := os.environ.get("TL_STUDY_CAT_DOG"):
        folders["photos of TL_STUDY_CAT_DOG"] = photos
    rates = {name: _rate(find_source(data, Path()).read, side, n) for name, data in folders.items()}
    with scratch() as folder:
        for width, height in _PHOTO_SIZES:
            photo = partial(_open, _photo(folder, width, height))
            few = max(3, n // 10) if width > 1000 else n
            rates[f"a photo of {width} x {height}"] = _rate(photo, side, few)
    return rates


def _open(path: Path, i: int, side: int) -> Picture:
    return open_picture(path)


def _rate(read: Callable[[int, int], Picture], side: int, n: int) -> float:
    to_square(read(0, side), side, "squash")
    start = time.process_time()  # Without the time of other processes.
    for i in range(n):
        to_square(read(i, side), side, "squash")
    return n / (time.process_time() - start)


def _photo(folder: Path, width: int, height: int) -> Path:
    """A JPEG with a photo's detail: smooth shapes and sensor noise."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    grain = rng.normal(0, 6, (height, width, 1)).astype(np.float32)
    path = folder / f"{width}.jpg"
    Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return path


def _attach(n: int, side: int) -> Row:
    """Open a cache entry of N images whose pixels are a sparse file: attaching reads none."""
    with scratch() as folder:
        shape = (n, 3, side, side)
        np.lib.format.open_memmap(folder / "pixels.npy", "w+", np.uint8, shape)
        write_tables(folder, np.arange(n) % 2, np.zeros(n, np.float32))
        labels = ImageSet.open(folder).labels
        attach, map_only, split = (
            min(seconds(run) for _ in range(3))
            for run in (
                lambda: ImageSet.open(folder),
                lambda: np.load(folder / "pixels.npy", "r"),
                lambda: make_split(labels, 0.8),
            )
        )
    return {
        "images": n,
        "map_gb": figures(n * 3 * side * side / 1e9),
        "map_ms": figures(map_only * 1000),
        "attach_ms": figures(attach * 1000),
        "split_ms": figures(split * 1000),
    }


def _read_rates(on_disk_mb: int, side: int) -> list[Row]:
    """Batches from a file in the page cache, and from one that was dropped from it."""
    with scratch() as folder:
        n = on_disk_mb * 10**6 // (3 * side * side)
        entry = draw_entry(folder / "entry", n, side)
        order = np.random.default_rng(0).permutation(n)
        warm = [_read("warm", entry, order) for _ in range(2)][-1]
        with (entry / "pixels.npy").open("rb") as file:  # Dropped from the page cache.
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return [warm, _read("cold", entry, order)]


def _read(page_cache: str, entry: Path, order: np.ndarray) -> Row:
    pixels = ImageSet.open(entry).pixels
    batches = [order[at : at + _BATCH] for at in range(0, len(order), _BATCH)]
    before = _bytes_from_disk()
    times = [seconds(partial(pixels.__getitem__, batch)) for batch in batches]
    total = sum(times)
    return {
        "page_cache": page_cache,
        "images_per_s": figures(len(order) / total),
        "mb_per_s": figures(pixels.nbytes / 1e6 / total),
        "batch_median_ms": figures(median_ms(times)),
        # What the kernel read from the disk meanwhile.
        "from_disk_mb": (_bytes_from_disk() - before) // 10**6,
    }


def _bytes_from_disk() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))
