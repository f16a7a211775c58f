"""ImageSet: every image decoded once into one uint8 array that lies in a memory-mapped cache."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tl_core.data.cache import damage, new_array, publish
from tl_core.data.decode import decoding_threads, resize_square
from tl_core.data.sources import Source
from tl_core.errors import InputError, truncate_list
from tl_core.progress import track
from tl_core.text import pluralize

# Part of every cache key: raise it when decoded pixels change their meaning.
_FORMAT = 2


@dataclass(frozen=True)
class ImageSet:
    """N decoded images with their two labels."""

    name: str
    key: str
    """Names the cache entry: a hash of the files' paths, sizes, times and the settings."""
    path: Path
    """The cache entry; `ImageSet.open(path)` attaches it in another process without a copy."""
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    """One stable name an image, N."""
    pixels: np.ndarray
    """uint8 [N, 3, S, S], memory-mapped and read-only."""
    labels: np.ndarray
    """int64 [N], index into `classes`."""
    brightness: np.ndarray
    """float32 [N] in [0, 1]: mean over pixels and channels before normalisation."""
    bad: tuple[tuple[str, str], ...] = ()
    """(path, reason) of each file that could not be decoded and is left out."""

    @property
    def image_size(self) -> int:
        """Side of the square images, pixels."""
        return int(self.pixels.shape[-1])

    @classmethod
    def open(cls, path: Path) -> "ImageSet":
        """Attach a cache entry by memory map."""
        about = json.loads((path / "about.json").read_text())
        return cls(
            name=about["name"],
            key=path.name,
            path=path,
            classes=tuple(about["classes"]),
            ids=tuple(about["ids"]),
            pixels=np.load(path / "pixels.npy", mmap_mode="r"),
            labels=np.load(path / "labels.npy"),
            brightness=np.load(path / "brightness.npy"),
            bad=tuple((name, reason) for name, reason in about["bad"]),
        )


def image_entry(source: Source, image_size: int, cache: Path) -> Path:
    """Where a cache keeps the decoded images of a source."""
    return cache / "images" / f"{source.fingerprint[:24]}-{image_size}-v{_FORMAT}"


def load_images(
    source: Source, image_size: int, cache: Path, skip_bad_images: bool = False
) -> ImageSet:
    """Attach the decoded images of `source`, decoding them first if the cache lacks them.

    What the cache has is verified by hash, and decoded anew, with a warning, if it is damaged.

    Raises `InputError` naming every file that can't be decoded, unless `skip_bad_images`.
    """
    entry = image_entry(source, image_size, cache)

    def fault(there: Path) -> str | None:
        return damage(there) or _mended(ImageSet.open(there), source, image_size)

    publish(entry, lambda into: _decode(source, image_size, into), fault)
    images = ImageSet.open(entry)
    if images.bad and not skip_bad_images:
        raise InputError(tell_bad(images.bad))
    lost = set(range(len(source.classes))) - set(images.labels.tolist())
    if lost:
        raise InputError(
            truncate_list(
                f"class {source.classes[i]!r} has no readable image" for i in sorted(lost)
            )
        )
    return images


def unreadable(source: Source, size: int, numbers: Iterable[int]) -> list[tuple[str, str]]:
    """Decode some of the images on all cores; return (name, reason) of each that can't be."""

    def reason(i: int) -> str | None:
        return _read_into(np.empty((3, size, size), np.uint8), source, i, size)

    with decoding_threads() as pool:
        tried = list(numbers)
        found = zip(tried, pool.map(reason, tried), strict=True)
        return [(source.ids[i], why) for i, why in found if why]


def _mended(images: ImageSet, source: Source, size: int) -> str | None:
    """A file that could not be decoded and now can: it may have been locked at the time."""
    bad = {name for name, _ in images.bad}
    for i, name in enumerate(source.ids):
        if name in bad and not _read_into(np.empty((3, size, size), np.uint8), source, i, size):
            return f"{name} can be read by now"
    return None


def _decode(source: Source, size: int, into: Path) -> None:
    n = len(source.ids)
    pixels = new_array(into / "all.npy", np.uint8, (n, 3, size, size))
    reasons = list(track(_each(source, size, pixels), n, f"Decoding {source.name}"))
    good = np.array([i for i, reason in enumerate(reasons) if reason is None], dtype=np.int64)
    kept = _keep(pixels, good, into)
    labels = new_array(into / "labels.npy", np.int64, good.shape)
    labels[:] = np.asarray(source.labels)[good]
    brightness = new_array(into / "brightness.npy", np.float32, good.shape)
    brightness[:] = [image.mean(dtype=np.float64) / 255 for image in kept]
    about: dict[str, Any] = {
        "name": source.name,
        "classes": source.classes,
        "ids": [source.ids[i] for i in good],
        "bad": [(source.ids[i], reason) for i, reason in enumerate(reasons) if reason],
    }
    (into / "about.json").write_text(json.dumps(about))


def _each(source: Source, size: int, pixels: np.ndarray) -> Iterator[str | None]:
    """Fill `pixels` in parallel; yield, in order, why an image could not be had, or None."""
    with decoding_threads() as pool:
        n = len(source.ids)
        yield from pool.map(lambda i: _read_into(pixels[i], source, i, size), range(n))


def _read_into(pixels: np.ndarray, source: Source, i: int, size: int) -> str | None:
    """Decode image `i` into uint8 [3, S, S]; return why that could not be done, or None."""
    try:
        pixels[:] = resize_square(source.read(i, size), size)
    except Exception as error:  # Decoders raise nearly anything on a broken file.
        return f"{type(error).__name__}: {error}"
    return None


def _keep(pixels: np.ndarray, good: np.ndarray, into: Path) -> np.ndarray:
    """Leave only the rows `good` in `pixels.npy`."""
    if len(good) == len(pixels):
        (into / "all.npy").rename(into / "pixels.npy")
        return pixels
    kept = new_array(into / "pixels.npy", np.uint8, (len(good), *pixels.shape[1:]))
    for row, i in enumerate(good):
        kept[row] = pixels[i]
    (into / "all.npy").unlink()
    return kept


def tell_bad(bad: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Say which files could not be decoded, (name, reason) each, and what to do."""
    files = pluralize(len(bad), "file is no readable image", "files are not readable images")
    yield f"{files} (--skip-bad-images goes on without {'it' if len(bad) == 1 else 'them'}):"
    yield from (
        f"  {fault}" for fault in truncate_list(f"{name}: {reason}" for name, reason in bad)
    )
