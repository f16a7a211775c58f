"""The work of decoding: from the pictures of a source to the rows of a table, in order."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np

from tl_core.config import Resize
from tl_core.data.caching.tables import Table
from tl_core.data.decode import to_square
from tl_core.data.reading.deep import Deep, Depth, Levels, Scales, fit_scales
from tl_core.data.reading.kinds import describe_failure, fault_of_machine, not_read_again
from tl_core.data.sources import Source
from tl_core.errors import InputError, OutOfTimeError
from tl_core.progress import track
from tl_core.runtime import in_order, usable_cpus
from tl_core.text import pluralize

_AHEAD_BYTES, _MOST_AHEAD = 2**26, 1024
"""Of squares that wait for the one before them, which may be a picture that takes long."""
_PIECE = 256
"""Rows whose brightness a thread computes at once."""


class Range(NamedTuple):
    """Of a deep picture, which is scaled by the range of all."""

    depth: Depth
    levels: Levels


class Square(NamedTuple):
    """A picture that is decoded."""

    pixels: np.ndarray
    """uint8 [3, S, S]."""
    brightness: float


def decode_one(
    source: Source, i: int, size: int, resize: Resize, scales: Scales | None = None
) -> Square | Range | str:
    """Decode image `i`; return why it can't be decoded if so.

    Without scales, a deep picture is only measured. Raises `InputError` if not the file is at
    fault, but the machine.
    """
    try:
        picture = source.read(i, size)
        if scales is None and isinstance(picture, Deep):
            return Range(picture.depth, picture.range)
        # Here, as threads do it together: one of them all puts it into the table.
        pixels = np.ascontiguousarray(to_square(picture, size, resize, scales or {}))
    except Exception as error:  # Decoders may raise any error on a broken file.
        if why := fault_of_machine(source.ids[i], error):
            raise InputError([why]) from error
        return describe_failure(error)
    return Square(pixels, _brightness(pixels))


class Decoding:
    """Decodes the pictures of a source into the rows of a table, and goes on where one stopped.

    Each picture takes the next row, and one that can't be decoded takes none: closing gaps later
    would take as long as decoding, or twice the room. The row of a deep picture is filled when the
    range of all is known.

    Args:
        table: uint8 [N, 3, S, S].
        source: N images.
        resize: how a picture becomes a square.
        end: when to stop, by `time.monotonic`; then `OutOfTimeError` is raised.
        pool: the threads that decode.
    """

    def __init__(
        self,
        table: Table,
        source: Source,
        resize: Resize,
        end: float | None,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._table, self._source, self._end, self._pool = table, source, end, pool
        self._n, self._size = len(source.ids), table.rows.shape[-1]
        self._decode = partial(decode_one, source, size=self._size, resize=resize)
        at_once = min(_MOST_AHEAD, _AHEAD_BYTES // (3 * self._size**2))
        self._ahead = max(2 * usable_cpus(), at_once)
        notes = table.notes
        self.bad = {int(i): str(reason) for i, reason in notes.get("bad", {}).items()}
        """Why a picture can't be decoded, by its number; in order."""
        self.deep = {
            int(i): Range(depth, Levels(*levels))
            for i, (depth, levels) in notes.get("deep", {}).items()
        }
        """The range of each deep picture, likewise."""
        scaled = notes.get("scaled", [{}, 0])  # By which levels, and how many of them.
        table.notes = {"bad": self.bad, "deep": self.deep, "scaled": scaled}
        self._means = np.full(self._n, np.nan, np.float32)  # NaN in rows that were there.

    def try_again(self) -> None:
        """Begin again at the first file that could not be read before and is readable now.

        Not if all have been read: the next command tries those of a finished entry.
        """
        if self._table.done == self._n:
            return
        tried = [*self.bad]
        outcomes = in_order(self._pool, self._decode, tried, self._ahead)
        for i, outcome in zip(tried, outcomes, strict=True):
            if not isinstance(outcome, str):
                self._forget(i)
                break

    def _forget(self, first: int) -> None:
        """Forget this picture and all after it."""
        self._table.done = first
        for known in (self.bad, self.deep):
            for i in [i for i in known if i >= first]:
                del known[i]
        self._table.save()  # Before a row changes: those behind it get other pictures.

    def read(self) -> None:
        """Decode all pictures that are left, and measure the deep ones."""
        there = self._table.done
        left = in_order(self._pool, self._decode, range(there, self._n), self._ahead)
        shown = track(left, self._n, f"Decoding {self._source.name}", before=there)
        for i, outcome in enumerate(shown, start=there):
            if isinstance(outcome, str):
                self.bad[i] = outcome
            elif isinstance(outcome, Range):
                self.deep[i] = outcome
            else:
                self._put(i - len(self.bad), outcome)
            self._keep(i + 1, self._n - i - 1)

    def scale(self) -> Scales:
        """Decode the deep pictures by the range of all, which is returned as levels.

        Raises `InputError` if one can't be read any more: it has a row.
        """
        scales = fit_scales(self.deep.values())
        levels = {depth: [*both] for depth, both in scales.items()}  # As JSON has them.
        if self._table.notes["scaled"][0] != levels:
            self._table.notes["scaled"] = [levels, 0]
        there, at = self._table.notes["scaled"][1], np.array([*self.deep], np.int64)
        rows = at - np.searchsorted(np.array([*self.bad], np.int64), at)
        decode = partial(self._decode, scales=scales)
        left: Iterable[Square | Range | str]
        left = in_order(self._pool, decode, at[there:].tolist(), self._ahead)
        if self.deep:
            left = track(left, len(at), "Scaling deep ones", before=there)
        for number, outcome in enumerate(left, start=there):
            if not isinstance(outcome, Square):
                raise InputError([not_read_again(self._source.ids[at[number]], str(outcome))])
            self._put(int(rows[number]), outcome)
            self._table.notes["scaled"][1] = number + 1
            self._keep(self._n, len(at) - number - 1)
        return scales

    def brightness(self) -> np.ndarray:
        """Return the brightness of each row, float32; it is computed of those that were there."""
        means = self._means[: self._n - len(self.bad)]
        rows = np.flatnonzero(np.isnan(means))
        pieces = [rows[start : start + _PIECE] for start in range(0, len(rows), _PIECE)]
        left: Iterator[list[float]]
        left = in_order(self._pool, self._brightness_of, pieces, 2 * usable_cpus())
        if pieces:
            doing = "Brightness of those that were there"
            left = track(left, len(rows), doing, _PIECE)
        for number, (piece, found) in enumerate(zip(pieces, left, strict=True), start=1):
            means[piece] = found
            self._stop_at_end(len(rows) - number * _PIECE, "to be measured")
        return means

    def _brightness_of(self, rows: np.ndarray) -> list[float]:
        return [_brightness(self._table.rows[row]) for row in rows]

    def _put(self, row: int, square: Square) -> None:
        self._table.rows[row], self._means[row] = square

    def _keep(self, done: int, left: int) -> None:
        self._table.grow(done)
        self._stop_at_end(left, "to be decoded")

    def _stop_at_end(self, left: int, what: str) -> None:
        if left > 0 and self._end is not None and time.monotonic() > self._end:
            images = pluralize(left, "image is", "images are")
            raise OutOfTimeError(
                f"--max-time is over: {images} still {what}. Those that are decoded are kept in "
                "the cache; the same command goes on there"
            )


def _brightness(pixels: np.ndarray) -> float:
    """Mean over pixels and channels, from 0 to 1."""
    return float(pixels.mean(dtype=np.float64)) / 255
