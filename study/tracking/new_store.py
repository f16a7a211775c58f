"""A new SQLite store, made in memory before its file may be there: MLflow takes seconds to make it.

A study that can't start leaves no store, so the file must wait until nothing is wrong.
"""

import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

from mlflow import MlflowClient

from study.config.uris import sqlite_file
from study.tracking.client import configure_client

_IN_MEMORY = "file:tl-study-new-store?mode=memory&cache=shared"
"""SQLite's name for a database that the connections of a process share; it goes with the last."""


@contextmanager
def made_ahead(uri: str) -> Iterator[Callable[[], None]]:
    """Have MLflow make the tables of a store; yield what puts them into the file of the URI.

    Neither does anything if the URI names no SQLite file, or one that is there; or if its name has
    options or escapes, which versions of SQLAlchemy read in different ways.
    """
    file = sqlite_file(uri)
    if file is None or any(mark in uri for mark in "?%") or os.path.lexists(file):
        yield lambda: None
        return
    configure_client()
    # MLflow's connections come and go, and the tables must stay.
    with closing(sqlite3.connect(_IN_MEMORY, uri=True)) as memory:
        # MLflow makes the tables in the file, then, and says what is wrong.
        with suppress(Exception):
            MlflowClient(f"sqlite:///{_IN_MEMORY}&uri=true").search_experiments(max_results=1)
        yield partial(_put, memory, file)


def _put(memory: sqlite3.Connection, file: Path) -> None:
    """Make the file, as a whole, unless it is there or there are no tables."""
    if not memory.execute(
        "SELECT name FROM sqlite_master WHERE name = 'alembic_version'"
    ).fetchone():
        return
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    # Another study was faster; or MLflow, which comes next and makes what is not there, says what
    # is wrong. A link can't replace a file, and some disks have none.
    with suppress(OSError, sqlite3.Error):
        try:
            with closing(sqlite3.connect(fresh)) as new:
                memory.backup(new)
            os.link(fresh, file)
        finally:
            fresh.unlink(missing_ok=True)
