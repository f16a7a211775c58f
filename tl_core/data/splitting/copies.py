"""Copies: images with the same pixels, and pictures that were re-encoded or resized."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from tl_core.data.caching.entries import damage, publish
from tl_core.data.decode import decoding_threads
from tl_core.data.splitting.same_picture import SMALLEST, alike, grids, same_picture
from tl_core.data.splitting.thumbnails import CELLS, area_weights, near_pairs, thumbnail
from tl_core.errors import OutOfTimeError
from tl_core.runtime import in_order, usable_cpus

COPIES_FORMAT = 2
"""Of the cache entries; the first had no near copies."""
_ROWS = 1024
"""Rows of a picture that are hashed at once, so that a large one is not copied whole."""
_PIECE, _PAIRS = 256, 16
"""Squares that a thread hashes at once, as each is soon done; pairs that are handed out at once."""
_AHEAD = 64
"""Pieces or pictures that are begun before their turn: there may be a million."""

Read = Callable[[int, int], Image.Image]
_At = TypeVar("_At")
_Seen = TypeVar("_Seen")


class Copies(NamedTuple):
    """Which of N images are copies of which."""

    same: np.ndarray
    """int64 [N]: the first image with the same pixels."""
    near: np.ndarray
    """int64 [N]: the first one that shows the same picture, re-encoded, resized or with the same
    pixels; chains of near copies are one picture."""


class UnfinishedSearchError(OutOfTimeError):
    """Copies were not found in time; the next search begins anew."""


def copies_entry(cache: Path, key: str) -> Path:
    """Return where the cache has the copies among the images of an entry with this key."""
    return cache / "copies" / f"{key}-c{COPIES_FORMAT}"


def find_copies(
    entry: Path, pixels: np.ndarray, read: Read, rows: np.ndarray, end: float | None = None
) -> Copies:
    """Find the images that are copies of others. The result is cached.

    Images whose small squares are the same are compared in full size, upright and in RGB. So
    copies are found in other formats as well, if these keep every pixel. Pairs whose squares are
    alike are compared as pictures (`same_picture`).

    Args:
        entry: the cache entry of the result.
        pixels: uint8 [N, 3, S, S].
        read: reads an image of the source in full size.
        rows: int64 [N], the number of each image in the source.
        end: when to stop, by `time.monotonic`.

    Raises `UnfinishedSearchError` if they are not found before `end`.
    """

    def build(into: Path) -> None:
        with decoding_threads() as pool:
            np.save(into / "copies.npy", np.stack(_find(pixels, read, rows, pool, end)))

    def fault(entry: Path) -> str | None:
        if why := damage(entry):
            return why
        n = np.load(entry / "copies.npy").shape[1]
        return None if n == len(pixels) else f"it has {n} images, not {len(pixels)}"

    publish(entry, build, fault, end)
    return Copies(*np.load(entry / "copies.npy"))


def _find(
    pixels: np.ndarray, read: Read, rows: np.ndarray, pool: ThreadPoolExecutor, end: float | None
) -> Copies:
    n, size = len(pixels), pixels.shape[-1]
    weights, thumbs = area_weights(size), np.zeros((n, CELLS**2), np.float16)

    def each(look: Callable[[_At], _Seen], at: Iterable[_At]) -> Iterator[_Seen]:
        for seen in in_order(pool, look, at, max(_AHEAD, 2 * usable_cpus())):
            _stop_at(end)
            yield seen

    def look(start: int) -> list[bytes]:
        piece = range(start, min(start + _PIECE, n))
        for i in piece:
            thumbs[i] = thumbnail(pixels[i], weights)
        return [_digest([pixels[i].tobytes()]) for i in piece]

    def full(i: int) -> Image.Image:
        return read(int(rows[i]), size)

    def are_near(pair: list[int]) -> bool:
        if size >= SMALLEST:  # Fewer pictures are read again.
            a, b = (Image.fromarray(pixels[i].transpose(1, 2, 0)) for i in pair)
            if not alike(*grids(a, b)):
                return False
        return same_picture(full(pair[0]), full(pair[1]))

    digests = [*chain.from_iterable(each(look, range(0, n, _PIECE)))]
    first = _first(digests)
    twice = np.flatnonzero(np.bincount(first, minlength=len(first))[first] > 1).tolist()
    whole = each(lambda i: _digest(_strips(full(i))), twice)
    for i, digest in zip(twice, whole, strict=True):
        digests[i] = digest
    same = _first(digests)
    thumbs[same != np.arange(len(same))] = 0
    return Copies(same, _join(same, near_pairs(thumbs), are_near, pool, end))


def _stop_at(end: float | None) -> None:
    if end is not None and time.monotonic() > end:
        raise UnfinishedSearchError(
            "--max-time is over: copies among the images are still to be found. The images are "
            "decoded and kept in the cache; the same command goes on with them"
        )


def _join(
    same: np.ndarray,
    pairs: np.ndarray,
    are_near: Callable[[list[int]], bool],
    pool: ThreadPoolExecutor,
    end: float | None,
) -> np.ndarray:
    """Join the pairs that are near, and return the first image of each group, int64 [N].

    Pairs whose images are joined already are not looked at: a video of one scene has many.
    """
    leader = same.tolist()

    def first(i: int) -> int:
        while leader[i] != i:
            leader[i] = i = leader[leader[i]]
        return i

    for start in range(0, len(pairs), _PAIRS):
        _stop_at(end)
        apart = [[a, b] for a, b in pairs[start : start + _PAIRS].tolist() if first(a) != first(b)]
        for (a, b), near in zip(apart, pool.map(are_near, apart), strict=True):
            if near:
                one, other = sorted((first(a), first(b)))
                leader[other] = one
    return np.array([first(i) for i in range(len(same))], np.int64)


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
