"""`tl-study`, which hands on to the scripts in study/."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from study.__main__ import main

ROOT = Path(__file__).parents[2]
SLOW = {"torch", "ray", "mlflow", "optuna", "pandas", "matplotlib"}


def test_the_command_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"tl-study": "study.__main__:main"}


@pytest.mark.parametrize(("words", "code"), [([], 2), (["-h"], 0), (["--help"], 0)])
def test_usage_lists_every_script(
    words: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code
    out, err = capsys.readouterr()
    scripts = {
        path.stem for path in (ROOT / "study").glob("*.py") if "def main(" in path.read_text()
    }
    assert all(f"\n  {name} " in (err if code else out) for name in scripts - {"__main__"})


def test_usage_outlasts_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as pipe:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", pipe)
        monkeypatch.setattr(sys, "__stdout__", pipe)
        assert main(["--help"]) == 0
        sys.stdout.flush()


def test_an_unknown_command_lists_the_valid_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rum", "--resume", "x"]) == 2
    expected = "error: unknown command 'rum'; use run, doctor, report, predict, sync or manifest\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("words", "rest"), [("run --trials 4", ["--trials", "4"]), ("sync study", ["study"])]
)
def test_flags_and_exit_code_are_those_of_the_script(
    words: str, rest: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def script(given: list[str]) -> int:
        seen.append(given)
        return 3

    monkeypatch.setattr(f"study.{words.split()[0]}.main", script)
    assert main(words.split()) == 3
    assert seen == [rest]


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["run", "--mode", "wrong"], 2)])
def test_help_and_wrong_flags_import_nothing_slow(words: list[str], code: int) -> None:
    program = (
        "import sys; from study.__main__ import main; code = main(sys.argv[1:])\n"
        f"print(sorted({SLOW} & set(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.splitlines()[-1], done.returncode) == ("[]", code)
