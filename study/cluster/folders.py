"""Whether what a study writes to can be written: found out before any work, leaving nothing."""

import os
import tempfile
from pathlib import Path
from shlex import quote

from study.config.uris import SQLITE, folder_of_runs, sqlite_file, without_credentials
from tl_core.errors import Fault

_ALLOWED = "MLFLOW_ALLOW_FILE_STORE"
"""MLflow's variable: what it says of folders is no error then."""
_SQLITE_HEADER = b"SQLite format 3\0"


def nearest(path: Path) -> Path:
    """The path itself, or as much of the way to it as is there."""
    path = path.absolute()
    return next(there for there in (path, *path.parents) if os.path.lexists(there))


def folder_faults(flag: str, folder: Path, value: object = None) -> list[Fault]:
    """Why nothing can be written into a folder, which is made when it is needed.

    Args:
        flag: what asks for the folder, such as `--out`.
        folder: the folder.
        value: that of the flag, if it is not the folder itself.
    """
    there = nearest(folder)
    value = folder if value is None else value
    try:
        if not there.is_dir():
            return [Fault(flag, f"{value}: {there} is not a folder")]
        # Permissions don't tell all: what of mounts, quotas and servers?
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        return [Fault(flag, f"{value}: {there} can't be written: {error.strerror}")]
    return []


def store_faults(uri: str) -> list[Fault]:
    """Why the SQLite file or the folder that a tracking URI names, if it names one, can't be used.

    MLflow itself takes minutes to say so of a file, as it tries again and again.
    """
    value, folder, path = without_credentials(uri), folder_of_runs(uri), sqlite_file(uri)
    if folder is not None and os.environ.get(_ALLOWED, "").lower() not in ("true", "1"):
        database = folder if folder.suffix == ".db" else folder.parent / "mlflow.db"
        own = quote(f"{SQLITE}{database}")
        why = f"MLflow keeps no runs in folders; use --tracking-uri {own}"
        return [Fault("--tracking-uri", f"{value}: {why}, or set {_ALLOWED}=true")]
    if path is None:
        return []
    # SQLite puts its journal beside the file.
    return folder_faults("--tracking-uri", path.parent, value) or _file_faults(path, value)


def _file_faults(path: Path, value: str) -> list[Fault]:
    try:
        with path.open("r+b") as file:
            start = file.read(len(_SQLITE_HEADER))
    except FileNotFoundError:
        return []
    except OSError as error:
        return [Fault("--tracking-uri", f"{value}: {path} can't be written: {error.strerror}")]
    if start in (b"", _SQLITE_HEADER):
        return []
    return [Fault("--tracking-uri", f"{value}: {path} is not an SQLite file")]
