"""SQLite files that MLflow can't use: of its other versions, or with a deleted experiment."""

import importlib.metadata
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from study.tracking.database import _versions, database_faults

FILE = Path("mlflow.db")
OURS = f"MLflow {importlib.metadata.version('mlflow')}"


def faults(file: Path = FILE) -> list[str]:
    return [*map(str, database_faults(f"sqlite:///{file}?timeout=9", "tl-study"))]


def execute(*commands: str) -> None:
    with closing(sqlite3.connect(FILE)) as database:
        for command in commands:
            database.execute(command)
        database.commit()


def test_a_store_of_this_mlflow(uri: str) -> None:
    assert faults() == faults(Path("new.db")) == []
    with closing(sqlite3.connect(FILE)) as database:
        (schema,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
    known = _versions()
    assert {*known} - {*known.values()} == {schema}


@pytest.mark.parametrize("command", ["DELETE FROM alembic_version", "DROP TABLE alembic_version"])
def test_what_only_mlflow_can_judge_is_left_to_it(uri: str, command: str) -> None:
    execute(command)
    assert faults() == []
    FILE.write_bytes(b"SQLite format 3\0 and no more")
    assert faults() == []


def test_a_store_of_an_earlier_mlflow(uri: str) -> None:
    execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    assert faults() == [
        "--tracking-uri sqlite:///mlflow.db: an earlier MLflow has made it; copy the file, then "
        f"mlflow db upgrade sqlite:///mlflow.db fits it to {OURS}"
    ]


def test_a_store_of_a_later_mlflow(uri: str) -> None:
    execute("UPDATE alembic_version SET version_num = 'v3.2.0.a'")
    assert faults() == [
        "--tracking-uri sqlite:///mlflow.db: a newer MLflow, or another program, has made it: "
        f"{OURS} does not know schema v3.2.0.a; use another file"
    ]


def test_a_deleted_experiment(uri: str) -> None:
    execute(
        "INSERT INTO experiments (experiment_id, name, lifecycle_stage, workspace) "
        "VALUES (7, 'tl-study', 'deleted', 'default'), (8, 'cats', 'active', 'default')"
    )
    assert faults() == [
        "--tracking-uri sqlite:///mlflow.db: experiment tl-study is deleted; "
        "MLFLOW_TRACKING_URI=sqlite:///mlflow.db mlflow experiments restore -x 7 restores it"
    ]
    assert database_faults("sqlite:///mlflow.db", "cats") == []
