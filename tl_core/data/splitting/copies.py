"""Copies: images with the same pixels, whatever their files are called."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from tl_core.data.caching.entries import damage, publish
from tl_core.data.decode import decoding_threads

_ROWS = 1024
"""Rows of a picture that are hashed at once, so that a large one is not copied whole."""


def find_copies(
    entry: Path, pixels: np.ndarray, read: Callable[[int, int], Image.Image], rows: np.ndarray
) -> np.ndarray:
    """Return for each image the number of the first one with the same pixels, int64 [N].

    Images whose small squares are the same are compared in full size, upright and in RGB. So
    copies are found in other formats as well, if these keep every pixel. The result is cached.

    Args:
        entry: the cache entry of the result.
        pixels: uint8 [N, 3, S, S].
        read: reads an image of the source in full size.
        rows: int64 [N], the number of each image in the source.
    """

    def build(into: Path) -> None:
        np.save(into / "first.npy", _first_of_each(pixels, read, rows))

    def fault(entry: Path) -> str | None:
        if why := damage(entry):
            return why
        n = len(np.load(entry / "first.npy"))
        return None if n == len(pixels) else f"it has {n} images, not {len(pixels)}"

    publish(entry, build, fault)
    found: np.ndarray = np.load(entry / "first.npy")
    return found


def _first_of_each(
    pixels: np.ndarray, read: Callable[[int, int], Image.Image], rows: np.ndarray
) -> np.ndarray:
    with decoding_threads() as pool:
        squares = list(pool.map(lambda square: _digest([square.tobytes()]), pixels))
        first = _first(squares)
        twice = np.flatnonzero(np.bincount(first, minlength=len(first))[first] > 1)
        size = pixels.shape[-1]
        full = pool.map(lambda i: _digest(_strips(read(int(rows[i]), size))), twice.tolist())
        for i, digest in zip(twice, full, strict=True):
            squares[i] = digest
    return _first(squares)


def _first(digests: list[bytes]) -> np.ndarray:
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(digest, i) for i, digest in enumerate(digests)], np.int64)


def _digest(parts: Iterable[bytes]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.digest()


def _strips(image: Image.Image) -> Iterable[bytes]:
    yield f"{image.width} x {image.height}".encode()
    for top in range(0, image.height, _ROWS):
        bottom = min(top + _ROWS, image.height)
        yield image.crop((0, top, image.width, bottom)).tobytes()
