"""The cache: entries that one process builds once, and that are verified by hash before use.

An entry is a folder of files. Its files never change, so any number of processes may map them. A
damaged entry is replaced by a new folder, never repaired in place: a process that has mapped the
old files keeps them.

A table that takes long to make is kept while it grows, in a hidden folder beside its entry: the
next process goes on where one was stopped or killed.
"""

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import BaseFileLock, Timeout
from numpy.typing import DTypeLike

from tl_core.data.scanning.outputs import CACHE_SIGNATURE, CACHE_TAG
from tl_core.files import file_lock, leftovers, naming, replace_file, replace_folder
from tl_core.runtime import usable_cpus

MANIFEST = "SHA256SUMS"
"""One line for each piece of each file: its SHA-256, its start in bytes, the file's name."""
_PIECE = 16 * 2**20
"""Bytes; small enough for all cores to hash a large file together."""
_READ = 2**18
"""Bytes hashed at once: they fit into a core's own cache."""

_UNWANTED_S = 30 * 86_400
"""Seconds after which a table that nobody goes on with is removed."""
SAVE_S = 30.0
"""Seconds of work on a table that a kill loses at most."""
_KEPT = ".unfinished"
"""How the name of the folder ends that keeps a table while it grows."""
_STATE = "state.json"
"""How much of a table is there, in the folder that keeps it."""

Fault = Callable[[Path], str | None]
"""Returns why an entry can't be used, or None if it can."""

_log = logging.getLogger(__name__)


def damage(entry: Path) -> str | None:
    """Return what in an entry has changed since it was built, or None if nothing has."""
    try:
        expected = (entry / MANIFEST).read_bytes()
    except FileNotFoundError:
        return f"it has no {MANIFEST}"
    found = _manifest(entry)
    if found == expected:
        return None
    changed = set(found.splitlines()) - set(expected.splitlines())
    names = sorted({os.fsdecode(line.split(b" ", 2)[2]) for line in changed})
    return f"{' and '.join(names)} changed" if names else "a file is missing or truncated"


def publish(entry: Path, build: Callable[[Path], None], fault: Fault = damage) -> None:
    """Let `build` fill a new folder and put it at `entry`, unless a usable entry is there.

    One process at a time builds, and the others wait: studies may share a cache. An entry with a
    fault is replaced, with a warning.

    Args:
        entry: the path of the entry.
        build: writes the files into the folder that it is given; `publish` adds the manifest.
        fault: decides whether the present entry is usable; may be called twice.

    Raises:
        OSError: a file can't be written, e.g. because the disk is full; nothing of it remains.
    """

    def build_with_manifest(into: Path) -> None:
        build(into)
        (into / MANIFEST).write_bytes(_manifest(into))

    with suppress(FileNotFoundError):  # Another process is just replacing the entry.
        if entry.exists() and fault(entry) is None:
            return
    tag_cache(entry.parent)
    _sweep(entry.parent)
    with naming(entry), _locked(entry):
        if entry.exists():
            # Checked again: another process may have replaced it in the meantime.
            why = fault(entry)
            if why is None:
                return
            _log.warning("warning: cache entry %s is built again: %s", entry, why)
        replace_folder(entry, build_with_manifest)


def tag_cache(folder: Path) -> None:
    """Make a folder of a cache, marked as one: backups and scans for pictures pass it over."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / CACHE_TAG).exists():
        replace_file(
            folder / CACHE_TAG, CACHE_SIGNATURE + b"\n# Made by tl-study; safe to delete.\n"
        )


def new_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap:
    """Make a .npy file and map it; all of its space on disk is allocated at once.

    Raises `OSError` if the space is too small. Otherwise the kernel would notice when the process
    writes to a page of the map, and kill it (SIGBUS).
    """
    with naming(path):
        array: np.memmap = np.lib.format.open_memmap(path, "w+", dtype, shape)
        if hasattr(os, "posix_fallocate"):  # Not on macOS.
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
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
        state = {"done": self.done, "notes": self.notes}
        replace_file(self.file.with_name(_STATE), json.dumps(state), alone=True)
        self.saved = time.monotonic()


@contextmanager
def growing_table(
    into: Path, file: str, dtype: DTypeLike, shape: tuple[int, ...]
) -> Iterator[Table]:
    """Yield a table that is to be filled, for the folder that `publish` has filled.

    At the end it is moved there, whole. If an error or a kill ends the work before, its rows are
    kept, and the next table for the same entry has them already.

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
    except BaseException:
        if table and table.done:
            with suppress(OSError):  # What was saved before is still there.
                table.save()
        else:
            shutil.rmtree(kept, ignore_errors=True)
        raise
    table.file.rename(into / file)
    shutil.rmtree(kept, ignore_errors=True)


def rows_kept(entry: Path) -> int:
    """How many rows there are of the table that an entry waits for."""
    with suppress(OSError, ValueError):
        state = json.loads((_kept(entry) / _STATE).read_text(encoding="utf-8"))
        return int(state["done"])
    return 0


def bytes_kept(entry: Path) -> int:
    """Bytes on the disk of the table that an entry waits for."""
    return sum(file.stat().st_size for file in _kept(entry).glob("*"))


def _kept(entry: Path) -> Path:
    return entry.with_name(f".{entry.name}{_KEPT}")


def _kept_table(file: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> Table | None:
    try:
        state = json.loads(file.with_name(_STATE).read_text(encoding="utf-8"))
        np.load(file, mmap_mode="r")  # Raises if it is too short, where r+ would lengthen it.
        rows = np.load(file, mmap_mode="r+")
    except (OSError, ValueError):
        return None
    if rows.shape != shape or not np.can_cast(dtype, rows.dtype):
        return None
    return Table(rows, file, state["done"], state["notes"])


def _manifest(entry: Path) -> bytes:
    # Hidden files are not part of the entry: file managers and network file systems add them.
    files = [p for p in sorted(entry.iterdir()) if p.name != MANIFEST and p.name[0] != "."]
    pieces = [(f, start) for f in files for start in range(0, max(1, f.stat().st_size), _PIECE)]
    with ThreadPoolExecutor(usable_cpus()) as pool:  # hashlib releases the interpreter lock.
        return b"".join(pool.map(lambda piece: _line(*piece), pieces))


def _line(path: Path, start: int) -> bytes:
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_READ))
    with path.open("rb") as file:
        file.seek(start)
        for _ in range(_PIECE // _READ):
            digest.update(buffer[: file.readinto(buffer)])
    return os.fsencode(f"{digest.hexdigest()} {start} {path.name}\n")


def _locked(entry: Path) -> AbstractContextManager[object]:
    lock = _lock(entry)
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        _log.warning("waiting for another process that builds cache entry %s", entry)
        return lock.acquire()


def _sweep(parent: Path) -> None:
    """Remove the folders of processes that were killed while they built: their locks are free."""
    unwanted = ((left, _entry_of(left)) for left in parent.glob(f".*{_KEPT}") if _is_old(left))
    for left, entry in (*leftovers(parent), *unwanted):
        with suppress(OSError), _lock(entry).acquire(timeout=0):
            shutil.rmtree(left, ignore_errors=True)


def _entry_of(kept: Path) -> Path:
    return kept.with_name(kept.stem.removeprefix("."))


def _is_old(kept: Path) -> bool:
    with suppress(OSError):
        return time.time() - kept.stat().st_mtime > _UNWANTED_S
    return False


def _lock(entry: Path) -> BaseFileLock:
    return file_lock(entry.with_suffix(".lock"))
