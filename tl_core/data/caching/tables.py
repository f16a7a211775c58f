"""Tables of the cache that take long to make: they are kept while they grow.

A table is an array in a hidden folder beside its entry. The next process goes on where one was
stopped or killed.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tl_core.files import naming, replace_file

SAVE_S = 30.0
"""Seconds of work on a table that a kill loses at most."""
_UNWANTED_S = 30 * 86_400
"""Seconds after which a table that nobody goes on with is removed."""
_KEPT = ".unfinished"
"""How the name of the folder ends that keeps a table while it grows."""
_STATE = "progress.json"
"""How much of a table is there, in the folder that keeps it."""


def new_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap:
    """Make a .npy file and map it; all of its space on disk is allocated at once.

    Raises `OSError` if the space is too small, and leaves no file: its size would count as space
    that is taken. Otherwise the kernel would notice when the process writes to a page of the map,
    and kill it (SIGBUS).
    """
    with naming(path):
        array: np.memmap = np.lib.format.open_memmap(path, "w+", dtype, shape)
        if hasattr(os, "posix_fallocate"):  # Not on macOS.
            try:
                with path.open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError:
                path.unlink()
                raise
    return array


@dataclass
class Table:
    """A table that is made row after row."""

    rows: np.memmap
    file: Path
    """Where it is while it grows."""
    done: int = 0
    """How many rows are there, the first ones."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What its maker keeps beside them, as JSON."""
    left: int | None = None
    """To how many rows it is cut."""
    saved: float = field(default_factory=time.monotonic)

    def grow(self, done: int) -> None:
        """Note that so many rows are there; every `SAVE_S` seconds this is saved."""
        self.done = done
        if time.monotonic() - self.saved >= SAVE_S:
            self.save()

    def save(self) -> None:
        """Write what is there to the disk, first the rows."""
        with naming(self.file):
            self.rows.flush()
        state = {"done": self.done, "left": self.left, "notes": self.notes}
        replace_file(self.file.with_name(_STATE), json.dumps(state), alone=True)
        self.saved = time.monotonic()

    def cut(self, left: int) -> None:
        """Leave the first rows alone; the file is as one that was made with so many."""
        self.left = left
        self.save()  # Before the file is cut: from now on one of either length is taken up again.
        head, first = BytesIO(), self.rows[:1]
        dtype, shape = np.lib.format.dtype_to_descr(first.dtype), (left, *first.shape[1:])
        about = {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(head, about)  # NumPy leaves room for any length.
        with naming(self.file), self.file.open("r+b") as file:
            file.write(head.getvalue())
            file.flush()
            os.fsync(file.fileno())  # A file that is shorter than its header says is damaged.
            file.truncate(len(head.getvalue()) + left * first.nbytes)
        self.rows = np.load(self.file, mmap_mode="r+")


@contextmanager
def growing_table(
    into: Path, file: str, dtype: DTypeLike, shape: tuple[int, ...]
) -> Iterator[Table]:
    """Yield a table that is to be filled, for the folder that `publish` has filled.

    At the end it is there, whole. If an error or a kill ends the work before the entry is on the
    disk, its rows are kept, and the next table for the same entry has them already; where the disk
    has no hard links, only until the table is whole. Where the machine fails to read them, they
    stay, and its `OSError` or `MemoryError` is raised.

    Args:
        into: the folder.
        file: the name of the table in it.
        dtype: of its values; the table's maker may have widened what is kept.
        shape: of the table, [rows, ...].
    """
    kept = into.with_suffix(_KEPT)
    table = _kept_table(kept / file, dtype, shape)
    if table is None:
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir()
    try:
        table = table or Table(new_array(kept / file, dtype, shape), kept / file)
        yield table
        table.save()
    except BaseException:
        if table and table.done:
            with suppress(OSError):  # What was saved before is still there.
                table.save()
        else:
            shutil.rmtree(kept, ignore_errors=True)
        raise
    # A second name: of a large table it takes minutes until the entry is on the disk.
    try:
        os.link(table.file, into / file)
    except OSError:  # Not all file systems have second names.
        table.file.rename(into / file)


def remove_table(entry: Path) -> None:
    """Remove what is kept of the table that an entry waited for."""
    shutil.rmtree(_kept(entry), ignore_errors=True)


def rows_kept(entry: Path) -> int:
    """How many rows there are of the table that an entry waits for."""
    with suppress(OSError, ValueError, KeyError, TypeError):  # There is none, or it is damaged.
        state = json.loads((_kept(entry) / _STATE).read_text(encoding="utf-8"))
        return int(state["done"])
    return 0


def bytes_kept(entry: Path) -> int:
    """Bytes on the disk of the table that an entry waits for."""
    size = 0
    for file in _kept(entry).glob("*"):
        with suppress(FileNotFoundError):  # Another process goes on with it.
            size += file.stat().st_size
    return size


def unwanted_tables(parent: Path) -> Iterator[tuple[Path, Path]]:
    """Yield tables that nobody has gone on with for long, and the entry that waits for each."""
    for kept in parent.glob(f".*{_KEPT}"):
        with suppress(OSError):
            if time.time() - kept.stat().st_mtime > _UNWANTED_S:
                yield kept, parent / kept.stem.removeprefix(".")


def _kept(entry: Path) -> Path:
    return entry.with_name(f".{entry.name}{_KEPT}")


def _kept_table(file: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> Table | None:
    try:
        state = json.loads(file.with_name(_STATE).read_text(encoding="utf-8"))
        if file.stat().st_nlink > 1:  # An entry has it as well, whose files never change.
            return None
        np.load(file, mmap_mode="r")  # Raises if it is too short, where r+ would lengthen it.
        rows = np.load(file, mmap_mode="r+")
        table = Table(rows, file, state["done"], state["notes"], state["left"])
    except FileNotFoundError:
        return None
    except (OSError, MemoryError):  # A fault of the machine, which may pass, and not of the files.
        raise
    except Exception:  # Damaged files may raise any other error; the table is made anew.
        return None
    fits = len(rows) in (shape[0], table.left) and rows.shape[1:] == shape[1:]
    return table if fits and np.can_cast(dtype, rows.dtype) else None
