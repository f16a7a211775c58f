"""Decode all pictures of a source into one array, and name those that can't be."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tl_core.config import Resize
from tl_core.data.caching.tables import growing_table, new_array
from tl_core.data.decode import decoding_threads
from tl_core.data.decode_rows import Decoding, decode_one
from tl_core.data.sources import Source
from tl_core.runtime import in_order

ABOUT = "about.json"
"""The file of an entry that tells what its images are, and which pictures could not be decoded."""
_AHEAD = 256
"""Pictures that are begun before the first one is known to be readable."""


def decode_source(
    source: Source, size: int, resize: Resize, into: Path, end: float | None = None
) -> None:
    """Write the files of an `ImageSet` into the folder `into`.

    Goes on where an earlier call was stopped. The disk needs room for the pixels once, also if some
    pictures can't be decoded.

    Args:
        source: the images.
        size: side of the square images, pixels.
        resize: how a picture becomes a square.
        into: an empty folder; `ImageSet.open` reads it.
        end: when to stop, by `time.monotonic`.

    Raises:
        OutOfTimeError: not all could be decoded before `end`.
        InputError: one could not be decoded for a fault of the machine.
    """
    n = len(source.ids)
    with growing_table(into, "pixels.npy", np.uint8, (n, 3, size, size)) as table:
        with decoding_threads() as pool:
            work = Decoding(table, source, resize, end, pool)
            work.try_again()
            work.read()
            scales = work.scale()
            means = work.brightness()
        good = np.setdiff1d(np.arange(n), [*work.bad])
        if work.bad:
            table.cut(len(good))
        labels = new_array(into / "labels.npy", np.int64, good.shape)
        labels[:] = np.asarray(source.labels)[good]
        brightness = new_array(into / "brightness.npy", np.float32, good.shape)
        brightness[:] = means
        about: dict[str, Any] = {
            "name": source.name,
            "classes": source.classes,
            "ids": [source.ids[i] for i in good],
            "bad": [(source.ids[i], reason) for i, reason in work.bad.items()],
            "resize": resize,
            "scales": scales,
            "deep": Counter(depth for depth, _ in work.deep.values()),
        }
        (into / ABOUT).write_text(json.dumps(about), encoding="utf-8")


def unreadable(source: Source, size: int, numbers: Iterable[int]) -> list[tuple[str, str]]:
    """Decode some of the images on all cores; return (name, reason) of each that can't be."""
    with decoding_threads() as pool:
        tried = list(numbers)
        reasons = in_order(pool, lambda i: why_unreadable(source, i, size), tried, _AHEAD)
        return [(source.ids[i], why) for i, why in zip(tried, reasons, strict=True) if why]


def why_unreadable(source: Source, i: int, size: int) -> str | None:
    """Say why image `i` can't be decoded; None if it can."""
    # To any kind of square: what one of them takes, all take.
    outcome = decode_one(source, i, size, "squash")
    return outcome if isinstance(outcome, str) else None
