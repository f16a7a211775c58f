"""Paths that users type, files and folders that are never half written, and locks."""

import errno
import logging
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
"""What `flock` says on network disks without it."""

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""How a file begins that stands for another one, which Git LFS has not fetched."""
LFS_REMEDY = "`git lfs pull` in the repository fetches what they stand for"
_POINTER_SIZE = 1024
"""Bytes below which the pointers of Git LFS stay."""
_noted: list[Path] = []
"""The folder that the note on missing locks has named. It comes once: most folders of a study lack
them for the same reason."""
_log = logging.getLogger(__name__)


def is_lfs_pointer(path: Path, state: os.stat_result | None = None) -> bool:
    """Whether a file stands for another one, which Git LFS has not fetched.

    `state` is that of the file, if it is known: no large file, pipe or device is opened.
    """
    try:
        state = state or path.stat()
        if not stat.S_ISREG(state.st_mode) or not 0 < state.st_size < _POINTER_SIZE:
            return False
        with path.open("rb") as file:
            return file.read(len(LFS_POINTER)) == LFS_POINTER
    except OSError:
        return False


def user_path(text: str | Path) -> Path:
    """Expand a leading `~`; that of an unknown user stays, where pathlib would raise an error."""
    return Path(os.path.expanduser(text))  # noqa: PTH111


def is_there(path: Path) -> bool:
    """Whether a path exists; where this user can't enter its folder, it is as good as gone."""
    try:
        path.stat()
    except OSError:
        return False
    return True


def replace_file(path: Path, content: str | bytes | memoryview, alone: bool = False) -> None:
    """Write a file so that readers see the old or the new content, also after a kill or power cut.

    `alone` says that no other process writes it at the same time; then the temporary file that a
    kill has left is used again.

    Raises `OSError` that names the file if it can't be written; then the old content stays.
    """
    # Names of files and classes need not be UTF-8; in JSON the escapes mean the same.
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    # A unique name, because a study and its report may write the same file at once.
    fresh = path.with_name(f".{path.name}.{'fresh' if alone else secrets.token_hex(4)}")
    try:
        with naming(path), fresh.open("wb" if alone else "xb") as file:
            file.write(data)
            file.flush()
            # Otherwise the new name may reach the disk before the content.
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    _sync_names(path.parent)


def replace_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` fill a new folder, then replace `folder` by it as a whole.

    A process that has a file of the old folder open or mapped keeps it. The caller ensures that
    only one process at a time does this; `leftovers` finds what a killed process has left.
    """
    fresh, old = folder.with_name(f".{folder.name}.fresh"), folder.with_name(f".{folder.name}.old")
    for left in (fresh, old):
        shutil.rmtree(left, ignore_errors=True)
    fresh.mkdir()
    try:
        fill(fresh)
        _sync_all(fresh)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    _sync_names(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def leftovers(parent: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each temporary folder of `replace_folder` in `parent`, and the folder it is for."""
    for pattern in (".*.fresh", ".*.old"):
        for left in parent.glob(pattern):
            yield left, parent / left.stem.removeprefix(".")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an `OSError` without a file name have this one: errors of a full disk have none."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def is_disk_full(error: OSError) -> bool:
    """Whether nothing can be written: disk or quota full, file too large, or read-only disk."""
    return error.errno in _FULL


def _sync_all(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            _sync_names(path)
    _sync_names(folder)


def _sync_names(folder: Path) -> None:
    """Write the names in a folder to disk."""
    # Some network file systems can't; SQLite ignores this error as well.
    with suppress(OSError):
        names = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(names)
        finally:
            os.close(names)


def file_lock(path: Path, thread_local: bool = True) -> BaseFileLock:
    """Return the lock of a path, whose folder is there.

    The kernel frees it when its process ends. Where the disk has no such locks, the file
    `PATH.held` stands for it while it is held, and a note says so: that of a process of this
    machine that was killed is found to be stale, that of another machine has to be deleted by hand.
    """
    if not _has_flock(path.parent.stat().st_dev, path.parent.absolute()):
        # Not the path itself: a file that the other kind of lock has left would count as held.
        return SoftFileLock(f"{path}.held", thread_local=thread_local)
    return FileLock(path, thread_local=thread_local)


@cache
def _has_flock(device: int, folder: Path) -> bool:
    """Whether the disk with this number, which has the folder, knows locks."""
    try:
        import fcntl
    except ImportError:  # Windows has locks of its own.
        return True
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            return True  # The lock itself will say what is wrong.
        _note_no_locks(folder)
        return False
    return True


def _note_no_locks(folder: Path) -> None:
    if not _noted:
        _noted.append(folder)
        _log.warning("note: the disk of %s has no file locks; files stand for them", folder)


@dataclass(frozen=True)
class LocalFile:
    """A file for a checkpoint, on this machine; its folder is made if it does not exist."""

    path: str | Path

    def __str__(self) -> str:
        return str(self.path)

    def read(self) -> bytes:
        """Return its content."""
        return user_path(self.path).read_bytes()

    def write(self, content: bytes | memoryview) -> None:
        """Replace it whole."""
        path = user_path(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content, alone=True)
