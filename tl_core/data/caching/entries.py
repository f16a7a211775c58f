"""The cache: entries that one process builds once, and that are verified by hash before use.

An entry is a folder of files. Its files never change, so any number of processes may map them. A
damaged entry is replaced by a new folder, never repaired in place: a process that has mapped the
old files keeps them.
"""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from filelock import BaseFileLock, Timeout

from tl_core.data.caching.tables import remove_table, unwanted_tables
from tl_core.data.scanning.outputs import CACHE_SIGNATURE, CACHE_TAG
from tl_core.errors import OutOfTimeError
from tl_core.files import file_lock, leftovers, naming, replace_file, replace_folder
from tl_core.runtime import usable_cpus

MANIFEST = "SHA256SUMS"
"""One line for each piece of each file: its SHA-256, its start in bytes, the file's name."""
_PIECE = 16 * 2**20
"""Bytes; small enough for all cores to hash a large file together."""
_READ = 2**18
"""Bytes hashed at once: they fit into a core's own cache."""

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


def trusted(entry: Path) -> None:
    """Find no fault in an entry that was verified before."""


def publish(
    entry: Path,
    build: Callable[[Path], None],
    fault: Fault = damage,
    end: float | None = None,
) -> None:
    """Let `build` fill a new folder and put it at `entry`, unless a usable entry is there.

    One process at a time builds, and the others wait: studies may share a cache. An entry with a
    fault is replaced, with a warning.

    Args:
        entry: the path of the entry.
        build: writes the files into the folder that it is given; `publish` adds the manifest.
        fault: decides whether the present entry is usable; may be called twice.
        end: until when another process is waited for, by `time.monotonic`.

    Raises:
        OutOfTimeError: another process still builds it at `end`.
        OSError: a file can't be written, e.g. because the disk is full; of it only a table remains.
    """

    def build_with_manifest(into: Path) -> None:
        build(into)
        replace_file(into / MANIFEST, _manifest(into), alone=True)

    with suppress(FileNotFoundError):  # Another process is just replacing the entry.
        if entry.exists() and fault(entry) is None:
            return
    tag_cache(entry.parent)
    _sweep(leftovers(entry.parent))
    with naming(entry), _locked(entry, end):
        if entry.exists():
            # Checked again: another process may have replaced it in the meantime.
            why = fault(entry)
            if why is None:
                return
            _log.warning("warning: cache entry %s is built again: %s", entry, why)
        replace_folder(entry, build_with_manifest)
        remove_table(entry)
    # Not before: this one, and those that it needs, go on with their own tables, however old.
    _sweep(unwanted_tables(entry.parent))


def tag_cache(folder: Path) -> None:
    """Make a folder of a cache, marked as one: backups and scans for pictures pass it over."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / CACHE_TAG).exists():
        replace_file(
            folder / CACHE_TAG, CACHE_SIGNATURE + b"\n# Made by tl-study; safe to delete.\n"
        )


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


def _locked(entry: Path, end: float | None) -> AbstractContextManager[object]:
    lock = _lock(entry)
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        _log.warning("waiting for another process that builds cache entry %s", entry)
    try:
        return lock.acquire(timeout=-1 if end is None else max(0.0, end - time.monotonic()))
    except Timeout:
        why = f"--max-time is over: another process still builds cache entry {entry}"
        raise OutOfTimeError(why) from None


def _sweep(found: Iterable[tuple[Path, Path]]) -> None:
    """Remove folders that were left, each for an entry, unless a process builds the entry now."""
    for left, entry in found:
        with suppress(OSError), _lock(entry).acquire(timeout=0):
            shutil.rmtree(left, ignore_errors=True)


def _lock(entry: Path) -> BaseFileLock:
    return file_lock(entry.with_suffix(".lock"))
