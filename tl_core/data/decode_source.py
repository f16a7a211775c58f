"""Decode all pictures of a source into one array, and name those that can't be decoded."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tl_core.config import Resize
from tl_core.data.cache import new_array
from tl_core.data.decode import decoding_threads, to_square
from tl_core.data.reading.deep import Deep, Depth, Levels, Scales, fit_scales
from tl_core.data.reading.kinds import describe_failure
from tl_core.data.sources import Source
from tl_core.errors import truncate_list
from tl_core.progress import track
from tl_core.text import pluralize

_NAMED = 3
"""Files of one kind that an error names."""
_Outcome = str | tuple[Depth, Levels] | None
"""Why a picture can't be decoded; of a deep one that waits for the others, its range; or None."""


def decode_source(source: Source, size: int, resize: Resize, into: Path) -> None:
    """Write the files of an `ImageSet` into the folder `into`.

    Args:
        source: the images.
        size: side of the square images, pixels.
        resize: how a picture becomes a square.
        into: an empty folder; `ImageSet.open` reads it.
    """
    n = len(source.ids)
    pixels = new_array(into / "all.npy", np.uint8, (n, 3, size, size))

    def read(i: int, scales: Scales | None = None) -> _Outcome:
        return _read_into(pixels[i], source, i, size, resize, scales)

    with decoding_threads() as pool:
        outcomes = list(track(pool.map(read, range(n)), n, f"Decoding {source.name}"))
        deep = {i: outcome for i, outcome in enumerate(outcomes) if isinstance(outcome, tuple)}
        # Again, because the range of all is known only now.
        scales = fit_scales(deep.values())
        if deep:
            again = pool.map(partial(read, scales=scales), deep)
            for i, outcome in zip(deep, track(again, len(deep), "Scaling deep ones"), strict=True):
                outcomes[i] = outcome
    reasons = [outcome if isinstance(outcome, str) else None for outcome in outcomes]
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
        "resize": resize,
        "scales": scales,
        "deep": Counter(depth for depth, _ in deep.values()),
    }
    (into / "about.json").write_text(json.dumps(about), encoding="utf-8")


def unreadable(source: Source, size: int, numbers: Iterable[int]) -> list[tuple[str, str]]:
    """Decode some of the images on all cores; return (name, reason) of each that can't be."""
    with decoding_threads() as pool:
        tried = list(numbers)
        reasons = pool.map(lambda i: why_unreadable(source, i, size), tried)
        return [(source.ids[i], why) for i, why in zip(tried, reasons, strict=True) if why]


def why_unreadable(source: Source, i: int, size: int) -> str | None:
    """Say why image `i` can't be decoded; None if it can."""
    # To any kind of square: what one of them takes, all take.
    outcome = _read_into(np.empty((3, size, size), np.uint8), source, i, size, "squash")
    return outcome if isinstance(outcome, str) else None


def _read_into(
    pixels: np.ndarray,
    source: Source,
    i: int,
    size: int,
    resize: Resize,
    scales: Scales | None = None,
) -> _Outcome:
    """Decode image `i` into uint8 [3, S, S]; without scales, a deep one is only measured."""
    try:
        picture = source.read(i, size)
        if scales is None and isinstance(picture, Deep):
            return picture.depth, picture.range
        pixels[:] = to_square(picture, size, resize, scales or {})
    except Exception as error:  # Decoders may raise any error on a broken file.
        return describe_failure(error)
    return None


def _keep(pixels: np.ndarray, good: np.ndarray, into: Path) -> np.ndarray:
    """Keep only the rows `good`, in `pixels.npy`."""
    if len(good) == len(pixels):
        (into / "all.npy").rename(into / "pixels.npy")
        return pixels
    kept = new_array(into / "pixels.npy", np.uint8, (len(good), *pixels.shape[1:]))
    for row, i in enumerate(good):
        kept[row] = pixels[i]
    (into / "all.npy").unlink()
    return kept


def format_bad(bad: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield the fault lines of files that can't be decoded, (name, reason) each, and ways out.

    Files of one kind are one line.
    """
    files = pluralize(len(bad), "file is not a readable image", "files are not readable images")
    them = "it" if len(bad) == 1 else "them"
    yield f"{files} (--skip-bad-images omits {them}, --exclude GLOB leaves out files by name):"
    names: dict[str, list[str]] = {}
    for name, reason in bad:
        names.setdefault(reason, []).append(name)
    lines = (_line(those, reason) for reason, those in names.items())
    yield from (f"  {fault}" for fault in truncate_list(lines))


def _line(names: Sequence[str], reason: str) -> str:
    if len(names) == 1:
        return f"{names[0]}: {reason}"
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    each = "each " if reason.startswith(("a ", "an ")) else ""
    return f"{len(names):,} files, {', '.join(names[:_NAMED])}{more}: {each}{reason}"
