"""Locks between processes, also on disks that know none."""

import errno
import logging
import tempfile
from functools import cache
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
"""What `flock` says on network disks without it."""
_log = logging.getLogger(__name__)


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
        _log.warning("note: the disk of %s has no file locks; files stand for them", folder)
        return False
    return True
