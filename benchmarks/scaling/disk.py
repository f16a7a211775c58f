"""Decoded images and features on disk: their size, the time to make, attach and read them."""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.scaling.base import Row, Tables, figures, median_ms, scratch, seconds
from benchmarks.scaling.memory import draw_entry, write_about
from tl_core.data.datasets import ImageSet
from tl_core.data.decode import open_rgb, resize_square
from tl_core.data.sources import Source, find_source
from tl_core.data.splits import make_split

SIDES = (128, 224)
COUNTS = (2_400, 25_000, 1_200_000)
WIDTHS = {"resnet18": 512, "efficientnet_lite0": 1280, "resnet50": 2048}
"""Features an image, D; a test holds them against the networks."""
_BATCH = 32
_PHOTO_SIZES = ((500, 375), (4000, 3000))


def measure(
    counts: tuple[int, ...] = COUNTS, n_decoded: int = 200, on_disk_mb: int = 1_000
) -> Tables:
    """Sizes and times, in four tables."""
    rates = {side: _decode_rates(side, n_decoded) for side in SIDES}
    usual = "a photo of 500 x 375"
    sizes = [size_row(n, side, rates[side][usual]) for side in SIDES for n in counts]
    return {
        "decoding, one core": [
            {"side_px": side, "from": name, "images_per_s": figures(rate)}
            for side, found in rates.items()
            for name, rate in found.items()
        ],
        f"size, and hours of decoding {usual}": sizes,
        "features": [feature_row(n, name) for name in WIDTHS for n in counts],
        "attaching": [_attach(n, 224) for n in counts],
        "batches of 32 at random": _read_rates(on_disk_mb, 224),
    }


def size_row(n: int, side: int, images_per_s: float) -> Row:
    """Bytes of N decoded images, and how long one core decodes."""
    one = 3 * side * side
    hours = n / images_per_s / 3600
    return {
        "images": n,
        "side_px": side,
        "bytes_an_image": one,
        "disk_gb": figures(n * one / 1e9),
        "decode_core_hours": figures(hours),
    }


def feature_row(n: int, backbone: str) -> Row:
    """Bytes of the features of N images, float32."""
    one = 4 * WIDTHS[backbone]
    return {"images": n, "backbone": backbone, "bytes_an_image": one, "gb": figures(n * one / 1e9)}


def _decode_rates(side: int, n: int) -> dict[str, float]:
    """Images a second on one core, by what is decoded."""
    folders = {"demo, drawn": "demo"}
    if photos := os.environ.get("TL_STUDY_CAT_DOG"):
        folders["photos of TL_STUDY_CAT_DOG"] = photos
    rates = {
        name: _rate(_reader(find_source(data, Path()), side), n) for name, data in folders.items()
    }
    with scratch() as folder:
        for width, height in _PHOTO_SIZES:
            path = _photo(folder, width, height)
            few = max(3, n // 10) if width > 1000 else n
            rates[f"a photo of {width} x {height}"] = _rate(_photo_reader(path, side), few)
    return rates


def _reader(source: Source, side: int) -> Callable[[int], object]:
    return lambda i: resize_square(source.read(i, side), side)


def _photo_reader(path: Path, side: int) -> Callable[[int], object]:
    return lambda _: resize_square(open_rgb(path), side)


def _rate(decode: Callable[[int], object], n: int) -> float:
    decode(0)
    start = time.process_time()  # One core's time, whoever else is at work on it.
    for i in range(n):
        decode(i)
    return n / (time.process_time() - start)


def _photo(folder: Path, width: int, height: int) -> Path:
    """A JPEG with as much detail as a photo has: smooth shapes, and grain of the sensor."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    grain = rng.normal(0, 6, (height, width, 1)).astype(np.float32)
    path = folder / f"{width}.jpg"
    Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return path


def _attach(n: int, side: int) -> Row:
    """Open a cache entry of N images whose pixels are one hole: attaching reads none."""
    with scratch() as folder:
        shape = (n, 3, side, side)
        np.lib.format.open_memmap(folder / "pixels.npy", "w+", np.uint8, shape)
        np.save(folder / "labels.npy", np.arange(n) % 2)
        np.save(folder / "brightness.npy", np.zeros(n, np.float32))
        write_about(folder, n)
        attach = min(seconds(lambda: ImageSet.open(folder)) for _ in range(3))
        map_only = min(seconds(lambda: np.load(folder / "pixels.npy", "r")) for _ in range(3))
        images = ImageSet.open(folder)
        split = min(seconds(lambda: make_split(images.labels, 0.8)) for _ in range(3))
    return {
        "images": n,
        "map_gb": figures(n * 3 * side * side / 1e9),
        "map_ms": figures(map_only * 1000),
        "attach_ms": figures(attach * 1000),
        "split_ms": figures(split * 1000),
    }


def _read_rates(on_disk_mb: int, side: int) -> list[Row]:
    """Batches from a file that is in the page cache, and from one that has been dropped from it."""
    with scratch() as folder:
        n = on_disk_mb * 10**6 // (3 * side * side)
        entry = draw_entry(folder / "entry", n, side)
        order = np.random.default_rng(0).permutation(n)
        warm = [_read("warm", entry, order) for _ in range(2)][-1]
        dropped = _drop(entry / "pixels.npy")
        cold = _read("cold", entry, order)
    return [warm, cold] if dropped else [warm]


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
        # The proof: what the kernel fetched from the disk meanwhile.
        "from_disk_mb": (_bytes_from_disk() - before) // 10**6,
    }


def _drop(path: Path) -> bool:
    """Drop a file of our own from the page cache; False where that can't be asked for."""
    if not hasattr(os, "posix_fadvise"):
        return False
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def _bytes_from_disk() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))
