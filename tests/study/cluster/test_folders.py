from pathlib import Path
from shlex import quote

import pytest

from study.cluster.folders import folder_faults, nearest, store_faults
from tests.support.disks import read_only
from tl_core.errors import Fault


def faults(uri: str) -> list[str]:
    return [*map(str, store_faults(uri))]


def test_nearest_is_what_there_is_of_a_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    assert nearest(tmp_path) == tmp_path
    assert nearest(tmp_path / "a" / "b") == tmp_path
    assert nearest(Path("a")) == tmp_path  # The working folder.
    for name in ("file", "link"):
        assert nearest(tmp_path / name / "b") == tmp_path / name


@pytest.mark.parametrize("name", [".", "made/when/needed"])
def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path: Path, name: str) -> None:
    assert folder_faults("--out", tmp_path / name) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "a/b"])
def test_what_is_in_the_way_of_a_folder_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "link"):
        fault = Fault("--out", f"x: {tmp_path / name} is not a folder")
        assert folder_faults("--out", tmp_path / name / below, "x") == [fault]


@pytest.mark.parametrize("uri", [
    "sqlite:///new.db", "sqlite:///made/when/needed/new.db", "sqlite:///old.db",
    "sqlite:///empty.db?timeout=3", "sqlite://", "sqlite:///:memory:", "http://127.0.0.1:5000",
    "databricks", "databricks://profile", "postgresql://host/db",
])  # fmt: skip
def test_a_store_that_can_be_used(uri: str, blank_store: Path) -> None:
    Path("old.db").write_bytes(blank_store.read_bytes())
    Path("empty.db").touch()
    assert store_faults(uri) == []
    assert not Path("new.db").exists()


def test_a_store_that_can_not_be_used(tmp_path: Path) -> None:
    Path("folder.db").mkdir()
    Path("table.db").write_text("trial,status\n0,done\n")
    assert faults("sqlite:///folder.db") == [
        "--tracking-uri sqlite:///folder.db: folder.db can't be written: Is a directory"
    ]
    assert faults(f"sqlite:///{tmp_path}/table.db") == [
        f"--tracking-uri sqlite:///{tmp_path}/table.db: {tmp_path}/table.db is not an SQLite file"
    ]
    assert faults("sqlite:///table.db/x/y.db") == [
        f"--tracking-uri sqlite:///table.db/x/y.db: {tmp_path}/table.db is not a folder"
    ]


@pytest.mark.parametrize(("uri", "file"), [
    ("./mlruns", "mlflow.db"), ("mlflow.db", "mlflow.db"), ("/data/a/mlruns", "/data/a/mlflow.db"),
    ("file:///data/a%20/mlruns", "/data/a /mlflow.db"),
])  # fmt: skip
def test_a_folder_of_runs_is_told_with_the_line_to_type(
    uri: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert faults(uri) == [
        f"--tracking-uri {uri}: MLflow keeps no runs in folders; use --tracking-uri "
        f"{quote(f'sqlite:///{file}')}, or set MLFLOW_ALLOW_FILE_STORE=true"
    ]
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert faults(uri) == []


def test_what_is_read_only_is_told(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    code = (
        "from study.cluster.folders import *\n"
        f"print(*folder_faults('--out', Path({str(disk)!r}) / 'new', 'x'))\n"
        f"print(*store_faults('sqlite:///{disk}/new.db'))"
    )
    done = read_only(disk, "-c", code)
    why = f"{disk} can't be written: Read-only file system"
    assert done.stdout.splitlines() == [
        f"--out x: {why}",
        f"--tracking-uri sqlite:///{disk}/new.db: {why}",
    ], done.stderr


def test_a_folder_without_permission_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(dir: Path) -> None:  # noqa: A002
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)  # Root is refused nothing.
    (fault,) = folder_faults("--cache", tmp_path)
    assert str(fault) == f"--cache {tmp_path}: {tmp_path} can't be written: Permission denied"
