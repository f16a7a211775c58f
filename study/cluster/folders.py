"""Whether what a study writes to can be written: found out before any work, leaving nothing."""

import os
import tempfile
from pathlib import Path

from study.config.uris import without_credentials

_SQLITE = "sqlite:///"
_SQLITE_HEADER = b"SQLite format 3\0"


def nearest(path: Path) -> Path:
    """The path itself, or as much of the way to it as is there."""
    path = path.absolute()
    return next(there for there in (path, *path.parents) if os.path.lexists(there))


def folder_faults(named: str, folder: Path) -> list[str]:
    """Why nothing can be written into a folder, which is made when it is needed.

    `named` is how the folder was asked for, such as `--out runs`.
    """
    there = nearest(folder)
    try:
        if not there.is_dir():
            return [f"{named}: {there} is not a folder"]
        # Permissions don't tell all: what of mounts, quotas and servers?
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        return [f"{named}: {there} can't be written: {error.strerror}"]
    return []


def store_faults(uri: str) -> list[str]:
    """Why the SQLite file that a tracking URI names, if it names one, can't be used.

    MLflow itself takes minutes to say so: it tries again and again.
    """
    name = uri.removeprefix(_SQLITE).partition("?")[0]
    if not uri.startswith(_SQLITE) or name in ("", ":memory:"):
        return []
    named, path = f"--tracking-uri {without_credentials(uri)}", Path(name)
    # SQLite puts its journal beside the file.
    return folder_faults(named, path.parent) or _file_faults(named, path)


def _file_faults(named: str, path: Path) -> list[str]:
    try:
        with path.open("r+b") as file:
            start = file.read(len(_SQLITE_HEADER))
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"{named}: {path} can't be written: {error.strerror}"]
    return [] if start in (b"", _SQLITE_HEADER) else [f"{named}: {path} is not an SQLite file"]
