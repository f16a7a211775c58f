"""Databases that MLflow cannot use: of other versions, silent, with a deleted experiment."""

import importlib.metadata
import importlib.util
import socket
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from study.tracking import database
from study.tracking.database import _ask, _schema_fault, _versions, check_database, database_faults
from tests.support.study_fixtures import Capture, Patch
from tl_core.errors import InputError

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
        "--tracking-uri sqlite:///mlflow.db: an earlier MLflow has made it; back it up, then "
        f"mlflow db upgrade sqlite:///mlflow.db fits it to {OURS}"
    ]


def test_a_store_of_a_later_mlflow(uri: str) -> None:
    execute("UPDATE alembic_version SET version_num = 'v3.2.0.a'")
    assert faults() == [
        "--tracking-uri sqlite:///mlflow.db: a newer MLflow, or another program, has made it: "
        f"{OURS} does not know schema v3.2.0.a; use another store"
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


SERVER = "postgresql://me:secret@db.example/runs"


def refusal(uri: str) -> str:
    with pytest.raises(InputError) as caught:
        check_database(uri, "tl-study")
    assert "secret" not in str(caught.value)
    return str(caught.value)


def test_a_database_s_server_is_asked_as_a_file_is(uri: str) -> None:
    assert _ask(uri, "tl-study") is None
    assert _ask("sqlite:///empty.db", "tl-study") is None, "MLflow makes its tables"
    execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    assert str(_ask(uri, "tl-study")).startswith("an earlier MLflow has made it; back it up, then")


def test_the_line_that_upgrades_has_a_place_for_the_password() -> None:
    shown = "postgresql://USER:PASSWORD@db.example/runs"
    assert f"mlflow db upgrade {shown} fits" in str(_schema_fault("451aebb31d03", shown))


def test_a_driver_that_is_missing() -> None:
    assert refusal("mysql+no_such://db.example/runs").startswith(
        "--tracking-uri mysql+no_such://db.example/runs: SQLAlchemy does not know such a database"
    )
    if importlib.util.find_spec("oracledb") is None:
        assert "its driver oracledb is not installed; pip install oracledb" in refusal(
            "oracle+oracledb://db.example/runs"
        )


@pytest.mark.parametrize("uri", [
    "postgresql://me:p@SeCr:eT9@localhost/runs", "postgresql://me:SeCr@localhost:eT9/runs",
    "postgresql://me:SeCreT9@[::1/runs",
])  # fmt: skip
def test_a_password_that_is_not_escaped_is_not_shown(uri: str, capsys: Capture) -> None:
    with pytest.raises(InputError) as caught:
        check_database(uri, "tl-study")
    why = (
        "it can't be read: a port is a number, and letters such as @ : / in a user's name or "
        "password are written as %40 %3A %2F; --offline keeps"
    )
    assert why in str(caught.value)
    assert "SeCr" not in str(caught.value)
    assert capsys.readouterr() == ("", ""), "no thread has printed its error"


def test_an_error_that_nobody_has_foreseen_is_told_by_its_name() -> None:
    def ask() -> str:
        raise KeyError("secret")

    assert database.answer_in_time(ask, 60) == "it can't be asked (KeyError)"


class Engine:
    """Stands for an engine whose driver waits for ever."""

    def connect(self) -> None:
        """Wait."""
        threading.Event().wait()


def test_a_database_that_swallows_packets(monkeypatch: Patch) -> None:
    monkeypatch.setattr("sqlalchemy.create_engine", lambda *_, **__: Engine())

    def swallowed(address: tuple[str, int], timeout: float) -> None:
        assert (address, timeout) == (("db.example", 5432), 4.0)
        raise TimeoutError

    monkeypatch.setattr("socket.create_connection", swallowed)
    assert refusal(SERVER).startswith(
        "--tracking-uri postgresql://db.example/runs: no answer in 4 s; --offline keeps"
    )
    monkeypatch.setattr("socket.create_connection", lambda *_: socket.socket())
    monkeypatch.setattr(database, "_ANSWER_S", 0.05)
    assert "runs: no answer in 0.05 s; " in refusal(SERVER), "it accepts, and is silent"


def test_a_database_that_refuses(monkeypatch: Patch, nobody: str) -> None:
    monkeypatch.setattr("sqlalchemy.create_engine", lambda *_, **__: Engine())
    address = nobody.removeprefix("http://")
    assert refusal(f"postgresql://me:secret@{address}/runs").startswith(
        f"--tracking-uri postgresql://{address}/runs: Connection refused; "
    )
