"""Decode all pictures of a source into one array, and name those that can't be."""

import json
import time
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tl_core.config import Resize
from tl_core.data.caching.tables import Table, growing_table, new_array
from tl_core.data.decode import decoding_threads, to_square
from tl_core.data.reading.deep import Deep, Depth, Levels, Scales, fit_scales
from tl_core.data.reading.kinds import describe_failure, fault_of_machine
from tl_core.data.sources import Source
from tl_core.errors import InputError, OutOfTimeError
from tl_core.progress import track
from tl_core.text import pluralize

ABOUT = "about.json"
"""The file of an entry that tells what its images are, and which pictures could not be decoded."""
_GOOD = "good.npy"
"""The pictures without those that can't be decoded, until it takes the place of all."""
_Outcome = str | tuple[Depth, Levels] | None
"""Why a picture can't be decoded; of a deep one that waits for the others, its range; or None."""


def decode_source(
    source: Source, size: int, resize: Resize, into: Path, end: float | None = None
) -> None:
    """Write the files of an `ImageSet` into the folder `into`.

    Goes on where an earlier call was stopped.

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
        outcomes, ranges = _decode_into(table, source, resize, end)
        reasons = [outcome if isinstance(outcome, str) else None for outcome in outcomes]
        good = np.array([i for i, reason in enumerate(reasons) if reason is None], dtype=np.int64)
        kept: np.ndarray = table.rows
        if len(good) < n:
            kept = new_array(into / _GOOD, np.uint8, (len(good), *kept.shape[1:]))
            for row, i in enumerate(good):
                kept[row] = table.rows[i]
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
            "scales": fit_scales(ranges),
            "deep": Counter(depth for depth, _ in ranges),
        }
        (into / ABOUT).write_text(json.dumps(about), encoding="utf-8")
    if len(good) < n:
        (into / _GOOD).replace(into / "pixels.npy")


def _decode_into(
    table: Table, source: Source, resize: Resize, end: float | None
) -> tuple[list[_Outcome], list[tuple[Depth, Levels]]]:
    """Decode all pictures; return the outcome of each, and the range of each deep one."""
    pixels, n = table.rows, len(source.ids)

    def read(i: int, scales: Scales | None = None) -> _Outcome:
        return _read_into(pixels[i], source, i, pixels.shape[-1], resize, scales)

    def keep(done: int, left: int) -> None:
        table.grow(done)
        if left and end is not None and time.monotonic() > end:
            raise _out_of_time(left)

    with decoding_threads() as pool:
        outcomes = _outcomes_before(table)
        tried = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, str)]
        for i, outcome in zip(tried, pool.map(read, tried), strict=True):
            outcomes[i] = outcome  # A file that could not be read may be readable now.
        left = pool.map(read, range(table.done, n))
        for outcome in track(left, n, f"Decoding {source.name}", before=table.done):
            if outcome:
                table.notes[str(table.done)] = outcome
            outcomes.append(outcome)
            keep(len(outcomes), n - len(outcomes))
        deep = {i: outcome for i, outcome in enumerate(outcomes) if isinstance(outcome, tuple)}
        # Again, because the range of all is known only now.
        scales = fit_scales(deep.values())
        for i in deep:
            outcomes[i] = None
        waiting = [i for i in deep if table.notes.get(f"{i} scaled") != _levels(scales)]
        scaled = pool.map(partial(read, scales=scales), waiting)
        if deep:
            scaled = track(scaled, len(deep), "Scaling deep ones", before=len(deep) - len(waiting))
        for number, (i, outcome) in enumerate(zip(waiting, scaled, strict=True), start=1):
            outcomes[i] = outcome
            if outcome is None:
                table.notes[f"{i} scaled"] = _levels(scales)
            keep(n, len(waiting) - number)
    return outcomes, [*deep.values()]


def _levels(scales: Scales) -> dict[Depth, list[float]]:
    """As JSON has them."""
    return {depth: [*both] for depth, both in scales.items()}


def _outcomes_before(table: Table) -> list[_Outcome]:
    """Of the pictures that were read before the work was stopped."""
    outcomes: list[_Outcome] = [None] * table.done
    for i in range(table.done):
        noted = table.notes.get(str(i))
        outcomes[i] = (noted[0], Levels(*noted[1])) if isinstance(noted, list) else noted
    return outcomes


def _out_of_time(left: int) -> OutOfTimeError:
    images = pluralize(left, "image is", "images are")
    return OutOfTimeError(
        f"--max-time is over: {images} still to be decoded. Those that are decoded are kept in "
        "the cache; the same command goes on there"
    )


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
    """Decode image `i` into uint8 [3, S, S]; without scales, a deep one is only measured.

    Raises `InputError` if not the file is at fault, but the machine.
    """
    try:
        picture = source.read(i, size)
        if scales is None and isinstance(picture, Deep):
            return picture.depth, picture.range
        pixels[:] = to_square(picture, size, resize, scales or {})
    except Exception as error:  # Decoders may raise any error on a broken file.
        if why := fault_of_machine(source.ids[i], error):
            raise InputError([why]) from error
        return describe_failure(error)
    return None
