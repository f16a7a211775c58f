from pathlib import Path

import pytest

from study.addresses import reason, sync_command, where_to_look, without_credentials


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("http://me:secret@host:5000/x?y=1", "http://host:5000/x?y=1"),
        ("postgresql://me:s%40cret@host/db", "postgresql://host/db"),
        ("http://me:sec@ret@host/", "http://host/"),
        ("https://token@host", "https://host"),
        ("http://me:se/c#r?t@host:5000/x", "http://host:5000/x"),
        ("http://host:5000/runs?by=me@home", "http://host:5000/runs?by=me@home"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("http://me:secret@[::1", "http://[::1"),
    ],
)
def test_without_credentials(uri: str, shown: str) -> None:
    assert without_credentials(uri) == shown


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("", "OSError"),
        ("http://me:s%40cret@host:5000 is down\nand more", "http://host:5000 is down"),
        ("login of me:s@cret@host has failed", "login of host has failed"),
    ],
)
def test_reason_is_one_line_without_the_password(message: str, told: str) -> None:
    assert reason(OSError(message), "http://me:s%40cret@host:5000") == told


@pytest.mark.parametrize(
    ("folder", "command"),
    [
        (Path("runs/mine"), "python study/sync.py mine"),
        (Path("elsewhere/../runs/mine"), "python study/sync.py mine"),
        (Path("runs/a b"), "python study/sync.py 'a b'"),
        (Path("/elsewhere/mine"), "python study/sync.py /elsewhere/mine"),
    ],
)
def test_command_that_sends_a_study(folder: Path, command: str) -> None:
    assert sync_command(folder) == command


@pytest.mark.parametrize(
    ("uri", "lines"),
    [
        (
            "http://me:secret@host:5000/",
            ["compare trials: http://host:5000/#/experiments/7/runs?workflowType="],
        ),
        (
            "sqlite:///mlflow.db",
            [
                "compare trials: mlflow ui --backend-store-uri sqlite:///mlflow.db",
                "          then: http://127.0.0.1:5000/#/experiments/7/runs?workflowType=",
            ],
        ),
    ],
)
def test_where_to_look(uri: str, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.addresses.shutil.which", lambda name: f"/bin/{name}")
    told = where_to_look(uri, "7").splitlines()
    assert told[-1].endswith("workflowType=machine_learning&compareRunsMode=CHART")
    assert [line[: len(start)] for line, start in zip(told, lines, strict=True)] == lines


def test_where_to_look_without_an_activated_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.addresses.shutil.which", lambda name: None)
    monkeypatch.setattr("study.addresses.sys.executable", "/x/.venv/bin/python")
    told = where_to_look("sqlite:///mlflow.db", "7").splitlines()[0]
    assert told == "compare trials: /x/.venv/bin/mlflow ui --backend-store-uri sqlite:///mlflow.db"


@pytest.mark.parametrize("key", [None, "abc"])
def test_where_to_look_names_the_view_if_there_is_one(key: str | None) -> None:
    told = where_to_look("http://host:5000", "7", key)
    assert told.endswith("CHART&viewStateShareKey=abc" if key else "CHART")
