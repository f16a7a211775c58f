"""The cache: entries that are built once, by one process, and verified by hash before use.

An entry is a folder of files. Nothing in it changes once it is there, so any number of processes
may map its files. An entry that is damaged is replaced by another folder, never mended in place:
whoever has the old files mapped keeps them.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import DTypeLike

from tl_core.files import leftovers, naming, replace_folder

MANIFEST = "SHA256SUMS"
"""A line a piece of each file: the piece's SHA-256, where it starts in bytes, the file's name."""
_PIECE = 16 * 2**20
"""Bytes; small enough for all cores to hash a large file together."""
_READ = 2**18
"""Bytes hashed at once: they stay in a core's own cache meanwhile."""

Fault = Callable[[Path], str | None]
"""Why an entry can't be used, or None if it can."""

_log = logging.getLogger(__name__)


def damage(entry: Path) -> str | None:
    """Verify an entry: tell what in it is not as it was built, or None if all is."""
    try:
        told = (entry / MANIFEST).read_bytes()
    except FileNotFoundError:
        return f"it has no {MANIFEST}"
    now = _manifest(entry)
    if now == told:
        return None
    unlike = set(now.splitlines()) - set(told.splitlines())
    names = sorted({os.fsdecode(line.split(b" ", 2)[2]) for line in unlike})
    return f"{' and '.join(names)} changed" if names else "a file is missing or was cut"


def unverified(entry: Path) -> str | None:
    """Take an entry as it is: for workers, whose driver has verified it."""
    return None


def publish(entry: Path, build: Callable[[Path], None], fault: Fault = damage) -> None:
    """Have `build` fill a new folder and put it at `entry`, unless a faultless one is there.

    One process at a time does so, and the others wait: studies may share a cache. An entry with
    a fault is replaced, and a warning names it.

    Args:
        entry: where.
        build: writes the files into the folder that it is given; the manifest is added.
        fault: what decides whether the entry that is there will do; it may be asked twice.

    Raises:
        OSError: a file can't be written, as when the disk is full; no part of it is left.
    """
    if _will_do(entry, fault):
        return
    entry.parent.mkdir(parents=True, exist_ok=True)
    _sweep(entry.parent)
    with naming(entry), _locked(entry):
        if entry.exists():
            # Asked again: another process may have replaced it meanwhile.
            why = fault(entry)
            if why is None:
                return
            _log.warning("warning: cache entry %s is made anew: %s", entry, why)
        replace_folder(entry, lambda into: _build(build, into))


def new_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.ndarray:
    """Make a .npy file and map it, with all of its space on disk taken.

    Raises `OSError` if there is too little. Without this the kernel would find out when a page of
    the map is written, and kill the process (SIGBUS).
    """
    with naming(path):
        array: np.ndarray = np.lib.format.open_memmap(path, "w+", dtype, shape)
        if hasattr(os, "posix_fallocate"):  # Not on macOS.
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _will_do(entry: Path, fault: Fault) -> bool:
    try:
        return entry.exists() and fault(entry) is None
    except FileNotFoundError:  # It is being replaced.
        return False


def _build(build: Callable[[Path], None], into: Path) -> None:
    build(into)
    (into / MANIFEST).write_bytes(_manifest(into))


def _manifest(entry: Path) -> bytes:
    # Hidden files are not the entry's: file managers and network file systems leave them.
    files = [p for p in sorted(entry.iterdir()) if p.name != MANIFEST and p.name[0] != "."]
    pieces = [(f, start) for f in files for start in range(0, max(1, f.stat().st_size), _PIECE)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashlib lets go of the interpreter lock.
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
        _log.warning("waiting for another process that makes cache entry %s", entry)
        return lock.acquire()


def _sweep(parent: Path) -> None:
    """Remove what processes left that were killed while they built: their locks are free."""
    for left, entry in leftovers(parent):
        with suppress(OSError), _lock(entry).acquire(timeout=0):
            shutil.rmtree(left, ignore_errors=True)


def _lock(entry: Path) -> FileLock:
    return FileLock(entry.with_suffix(".lock"))
