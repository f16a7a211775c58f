"""The commands that a program prints, by how it was started."""

import sys
from pathlib import Path

import pytest

from study import run
from study.config.program import command
from study.records.study_folder import resume_command, sync_command

CLONE = Path(run.__file__).parents[1]


@pytest.mark.parametrize(("started", "words"), [
    ("/usr/local/bin/tl-study", ["tl-study", "run"]),
    ("tl-study", ["tl-study", "run"]),
    (f"{CLONE}/study/doctor.py", ["python", f"{CLONE}/study/run.py"]),
    ("here/study/run.py", ["python", "here/study/run.py"]),
    ("here/other/run.py", ["python", "study/run.py"]),
    ("pytest", ["python", "study/run.py"]),
    ("", ["python", "study/run.py"]),
])  # fmt: skip
def test_commands_start_a_script_as_this_one_was(
    started: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("here").symlink_to(CLONE)
    monkeypatch.setattr(sys, "argv", [started])
    assert command("run") == words


def test_a_script_in_its_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CLONE / "study")
    monkeypatch.setattr(sys, "argv", ["run.py"])
    assert command("sync") == ["python", "sync.py"]


def test_a_path_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("my clone").symlink_to(CLONE)
    monkeypatch.setattr(sys, "argv", ["my clone/study/run.py"])
    assert sync_command(Path("runs/a")) == "python 'my clone/study/sync.py' a"
    resume = resume_command(Path("runs/a"), command("run"))
    assert resume == "python 'my clone/study/run.py' --resume a"
    assert resume_command(Path("runs/a")) == "python study/run.py --resume a", "as in a report"
