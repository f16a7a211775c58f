import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from study.tracking.database import made_ahead
from study.tracking.writer import MlflowWriter


def tables(store: Path) -> set[str]:
    with closing(sqlite3.connect(store)) as database:
        return names(database.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))


def names(rows: Iterable[tuple[str]]) -> set[str]:
    return {name for (name,) in rows}


def test_the_file_is_there_when_it_may_be_and_is_what_mlflow_makes(
    tmp_path: Path, blank_store: Path
) -> None:
    file = tmp_path / "a b.db"
    uri = f"sqlite:///{file}"
    with made_ahead(uri) as put:
        assert [*tmp_path.iterdir()] == []
        put()
        assert [*tmp_path.iterdir()] == [file]
    assert tables(file) == tables(blank_store)
    assert MlflowWriter(uri, "mine").experiment_id == "1"


def test_a_study_that_can_not_start_leaves_no_file(tmp_path: Path) -> None:
    with made_ahead(f"sqlite:///{tmp_path}/mlflow.db"):
        pass
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("content", [b"", b"another study's"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "meanwhile"])
def test_a_file_that_is_there_stays(tmp_path: Path, content: bytes, before: bool) -> None:
    file = tmp_path / "mlflow.db"
    if before:
        file.write_bytes(content)
    with made_ahead(f"sqlite:///{file}") as put:
        file.write_bytes(content)
        put()
    assert file.read_bytes() == content
    assert [*tmp_path.iterdir()] == [file]


def test_where_there_is_no_folder_mlflow_says_what_is_wrong(tmp_path: Path) -> None:
    with made_ahead(f"sqlite:///{tmp_path}/none/mlflow.db") as put:
        put()
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("uri", [
    "http://127.0.0.1:1", "sqlite://", "postgresql://127.0.0.1:1/x", "sqlite:///file:x.db?uri=true",
])  # fmt: skip
def test_other_stores_are_left_to_mlflow(uri: str, tmp_path: Path) -> None:
    with made_ahead(uri) as put:
        put()
    assert [*tmp_path.iterdir()] == []


def test_where_nothing_can_be_linked_or_made_ahead_mlflow_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    for number, name in enumerate(("os.link", "mlflow.MlflowClient")):
        file = tmp_path / f"{number}.db"
        with monkeypatch.context() as patch:
            patch.setattr(name, fail)
            # MLflow's connections keep the one of an earlier test.
            own = f"file:{number}?mode=memory&cache=shared"
            patch.setattr("study.tracking.database._IN_MEMORY", own)
            with made_ahead(f"sqlite:///{file}") as put:
                put()
        assert not file.exists()
    assert [*tmp_path.iterdir()] == []
    assert MlflowWriter(f"sqlite:///{file}", "mine").experiment_id == "1"
