"""Whether an SQLite file is a store of the MLflow that is installed; found out without MLflow."""

import importlib.util
import re
import sqlite3
from contextlib import closing
from functools import cache
from importlib.metadata import version
from pathlib import Path
from shlex import quote

from study.config.uris import sqlite_file, without_credentials
from tl_core.errors import Fault

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
    shown = without_credentials(uri)
    if schema and (why := _schema_fault(str(schema[0]), shown)):
        return [Fault("--tracking-uri", f"{shown}: {why}")]
    why = deleted_fault(shown, experiment, deleted[0]) if deleted else None
    return [Fault("--tracking-uri", f"{shown}: {why}")] if why else []


def deleted_fault(shown: str, experiment: str, experiment_id: object) -> str:
    """That an experiment is deleted, and the line that restores it."""
    restore = f"MLFLOW_TRACKING_URI={quote(shown)} mlflow experiments restore"
    return f"experiment {experiment} is deleted; {restore} -x {experiment_id} restores it"


def _schema_fault(found: str, shown: str) -> str | None:
    before = _versions()
    newest = {*before} - {*before.values()}
    if not before or found in newest:
        return None
    own = f"MLflow {version('mlflow')}"
    if found in before:
        upgrade = f"mlflow db upgrade {quote(shown)}"
        return f"an earlier MLflow has made it; copy the file, then {upgrade} fits it to {own}"
    why = f"a newer MLflow, or another program, has made it: {own} does not know schema {found}"
    return f"{why}; use another file"


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
