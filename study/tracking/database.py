"""Whether a database is a store of the MLflow that is installed; and a new one, made ahead.

The first is found out without MLflow, which tries for minutes to reach a database, or waits for
ever if packets are lost. The second is SQLite's: MLflow takes seconds to make it. A study that
can't start leaves no store, so it is made in memory, and the file waits until nothing is wrong.
"""

import importlib.util
import os
import re
import secrets
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from shlex import quote

from study.config.uris import (
    OFFLINE,
    SQLITE,
    reason,
    sqlite_file,
    with_placeholder,
    without_credentials,
)
from tl_core.errors import Fault, InputError

_CONNECT_S, _ANSWER_S = 4.0, 10.0
"""Seconds to connect to a database's server, and for all that it is asked."""
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_DRIVERS = {"psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
"""Names in the package index of modules that have others."""
_NOT_A_URI = (
    "it can't be read: a port is a number, and letters such as @ : / in a user's name or password"
    " are written as %40 %3A %2F"
)
_IN_MEMORY = "file:tl-study-new-store?mode=memory&cache=shared"
"""SQLite's name for a database that the connections of a process share; it goes with the last."""
_MIGRATIONS = Path("store", "db_migrations", "versions")
"""In MLflow's folder: a file for each version of the schema, which names the one before."""


def database_faults(uri: str, experiment: str) -> list[Fault]:
    """Why MLflow can't keep the runs of this experiment in the SQLite file of a URI, if it is one.

    A file that is not there or is empty becomes a store. What can't be read is left to MLflow.
    """
    path = sqlite_file(uri)
    if path is None or not path.is_file() or not path.stat().st_size:
        return []
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            schema = database.execute("SELECT version_num FROM alembic_version").fetchone()
            deleted = database.execute(
                "SELECT experiment_id FROM experiments WHERE name = ? AND lifecycle_stage = ?",
                (experiment, "deleted"),
            ).fetchone()
    except sqlite3.Error:
        return []
    why = _store_fault(uri, experiment, schema and schema[0], deleted and deleted[0])
    return [Fault("--tracking-uri", f"{without_credentials(uri)}: {why}")] if why else []


def check_database(uri: str, experiment: str, way_out: str = OFFLINE) -> None:
    """Raise `InputError` within seconds unless MLflow can keep its runs in a database's server.

    An empty database becomes a store. `way_out` ends the error's text.
    """
    if fault := answer_in_time(lambda: _ask(uri, experiment), _ANSWER_S):
        message = f"{without_credentials(uri)}: {fault}; {way_out}"
        raise InputError([Fault("--tracking-uri", message)])


def answer_in_time(
    ask: Callable[[], str | None], limit_s: float, again: threading.Event | None = None
) -> str | None:
    """Return what `ask` finds wrong, or that it takes longer than `limit_s`.

    `ask` has as long once more if it has set `again` by then. It runs in a thread: a name look-up,
    an answer that comes byte by byte, and a database that is silent once it is connected have no
    limit of their own. An error that `ask` has not foreseen may quote a password, so only its name
    is told.
    """
    faults: list[str | None] = []

    def find() -> None:
        try:
            faults.append(ask())
        except Exception as error:
            faults.append(f"it can't be asked ({type(error).__name__})")

    asking = threading.Thread(target=find, daemon=True)
    asking.start()
    asking.join(limit_s)
    if again and again.is_set():
        asking.join(limit_s)
    return faults[0] if faults else no_answer(limit_s)


def no_answer(limit_s: float) -> str:
    """That a store is silent."""
    return f"no answer in {limit_s:g} s"


def _ask(uri: str, experiment: str) -> str | None:
    """Return what is wrong with a database; None if MLflow may use it."""
    import sqlalchemy as sql  # Half a second, for those who have a database.
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    try:
        url = sql.make_url(uri)
        engine = sql.create_engine(url, poolclass=sql.NullPool)
        if url.host and (port := url.port or _PORTS.get(url.get_backend_name())):
            socket.create_connection((url.host, port), _CONNECT_S).close()
        with engine.connect() as database:
            tables = sql.inspect(database).get_table_names()
            if "alembic_version" not in tables or "experiments" not in tables:
                return None
            schema = database.scalar(sql.text("SELECT version_num FROM alembic_version"))
            query = "SELECT experiment_id FROM experiments WHERE name = :n AND lifecycle_stage = :s"
            deleted = database.scalar(sql.text(query), {"n": experiment, "s": "deleted"})
    except ModuleNotFoundError as error:
        package = _DRIVERS.get(error.name or "", error.name)
        return f"its driver {error.name} is not installed; pip install {package}"
    except (ArgumentError, NoSuchModuleError) as error:
        return f"SQLAlchemy does not know such a database: {reason(error, uri)}"
    except ValueError:  # It quotes what stands where a port is expected.
        return _NOT_A_URI
    except (OSError, SQLAlchemyError) as error:
        if isinstance(error, TimeoutError):
            return no_answer(_CONNECT_S)
        return getattr(error, "strerror", None) or reason(error, uri)
    return _store_fault(uri, experiment, schema, deleted)


def _store_fault(uri: str, experiment: str, schema: object, deleted: object) -> str | None:
    """Why MLflow can't keep runs in a store with this schema, and the experiment deleted or not."""
    # The line that upgrades needs user and password.
    if schema and (why := _schema_fault(str(schema), with_placeholder(uri))):
        return why
    return deleted_fault(uri, experiment, deleted) if deleted is not None else None


def deleted_fault(uri: str, experiment: str, experiment_id: object) -> str:
    """That an experiment is deleted, and the line that restores it."""
    where = quote(without_credentials(uri))
    restore = f"MLFLOW_TRACKING_URI={where} mlflow experiments restore"
    return f"experiment {experiment} is deleted; {restore} -x {experiment_id} restores it"


def _schema_fault(found: str, shown: str) -> str | None:
    before = _versions()
    newest = {*before} - {*before.values()}
    if not before or found in newest:
        return None
    own = f"MLflow {version('mlflow')}"
    if found in before:
        upgrade = f"mlflow db upgrade {quote(shown)}"
        return f"an earlier MLflow has made it; back it up, then {upgrade} fits it to {own}"
    why = f"a newer MLflow, or another program, has made it: {own} does not know schema {found}"
    return f"{why}; use another store"


@cache
def _versions() -> dict[str, str | None]:
    """By version of the schema that the installed MLflow knows, the version before it."""
    spec = importlib.util.find_spec("mlflow")
    folders = [*(spec.submodule_search_locations or [])] if spec else []
    found: dict[str, str | None] = {}
    for file in (file for folder in folders for file in (Path(folder) / _MIGRATIONS).glob("*.py")):
        text = file.read_text(encoding="utf-8")
        if own := re.search(r'^revision = "(\w+)"', text, re.MULTILINE):
            before = re.search(r'^down_revision = "(\w+)"', text, re.MULTILINE)
            found[own[1]] = before[1] if before else None
    return found


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
    from mlflow import MlflowClient  # Two seconds.

    # MLflow's connections come and go, and the tables must stay.
    with closing(sqlite3.connect(_IN_MEMORY, uri=True)) as memory:
        # MLflow makes the tables in the file, then, and says what is wrong.
        with suppress(Exception):
            MlflowClient(f"{SQLITE}{_IN_MEMORY}&uri=true").search_experiments(max_results=1)
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
