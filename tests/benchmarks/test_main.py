import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.speed import row_names as rows_module
from benchmarks.speed import run as run_module
from benchmarks.speed.bench import Bench
from benchmarks.speed.harness import Gate, Row, SkippedError, measured
from benchmarks.speed.row_names import ROWS, Entry

ROOT = Path(__file__).resolve().parents[2]


class Fake(Entry):
    """A row that gives what it is told to, instead of importing a module."""

    def load(self, name: str) -> "Measure":
        return Measure(self.module)


class Measure:
    def __init__(self, how: str) -> None:
        self._how = how

    def __call__(self, bench: Bench) -> Iterator[Row]:
        yield measured("first", "all", [2.0], Gate(True, "same"), target=3)
        if self._how == "skip":
            raise SkippedError("no GPU")
        if self._how == "break":
            raise ValueError("of no use")
        if self._how == "stop":
            raise KeyboardInterrupt
        yield measured("second", "all", [2.0], Gate(self._how != "wrong", "1 against 2"))


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that need no measuring, each named after how it ends."""
    fakes = {how: Fake(how, "a fake") for how in ("right", "wrong", "skip", "break", "stop")}
    monkeypatch.setattr(rows_module, "ROWS", fakes)
    monkeypatch.setattr(command, "ROWS", fakes)
    monkeypatch.setattr(run_module, "ROWS", fakes)
    monkeypatch.setattr(run_module, "ceilings", lambda device: {"copy": 1.0})


def run(folder: Path, out: Path, *words: str) -> int:
    given = ["--data", str(folder), "--image-size", "32", "--repeats", "1", "--out", str(out)]
    return command.main([*words, *given])


def test_an_unknown_row_is_told_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["fused-heads", "frozen", "x"]) == 2
    printed = capsys.readouterr()
    assert printed.err == f"error: unknown row frozen, x; the rows are {', '.join(ROWS)}\n"
    assert printed.out == ""


def test_list_names_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_every_row_has_its_function(name: str) -> None:
    module = ROOT / "benchmarks" / "speed" / "rows" / f"{ROWS[name].module}.py"
    assert f"\ndef {name.replace('-', '_')}(bench: Bench) -> Iterator[Row]:" in module.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--repeats", "0"], "error: --repeats 0: must be 1 or more\n"),
        (["--out", "/nowhere/x.json"], "error: --out /nowhere/x.json: its folder does not exist\n"),
        (["--data", "/nowhere"], "data folder /nowhere does not exist"),
    ],
)
def test_bad_input_is_told(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize(
    ("how", "code", "verdicts"),
    [
        ("right", 0, ["missed", "measured"]),
        ("wrong", 1, ["missed", "gate failed"]),
        ("skip", 0, ["missed", "skipped"]),
        ("break", 1, ["missed", "gate failed"]),
        ("stop", 130, ["missed"]),
    ],
)
def test_rows_are_saved_as_they_come_and_decide_the_exit_code(
    photo_folder: Path, tmp_path: Path, how: str, code: int, verdicts: list[str]
) -> None:
    out = tmp_path / "out.json"
    assert run(photo_folder, out, how) == code
    found = json.loads(out.read_text())
    assert [row["verdict"] for row in found["rows"]] == verdicts
    assert {"versions", "cpu", "load_before", "load_after"} <= found["environment"].keys()
    assert found["options"]["image_size"] == 32


@pytest.mark.usefixtures("fakes")
def test_a_broken_row_does_not_take_the_next_with_it(photo_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert run(photo_folder, out, "break", "right") == 1
    rows = json.loads(out.read_text())["rows"]
    assert [row["name"] for row in rows] == ["first", "break", "first", "second"]
    assert rows[1]["gate_text"] == "broke: ValueError: of no use"


@pytest.fixture
def short_temp() -> Iterator[Path]:
    """A folder for temporary files; the sockets that Ray makes there have short paths only."""
    folder = Path(tempfile.mkdtemp(prefix="tl", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.integration
@pytest.mark.timeout(1800)
def test_all_rows_end_to_end(tmp_path: Path, short_temp: Path) -> None:
    words = [sys.executable, "-m", "benchmarks", "--quick", "--out", str(tmp_path / "out.json")]
    own = {"TMPDIR": str(short_temp), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        words, cwd=tmp_path, env=os.environ | own, capture_output=True, text=True, check=False
    )
    found = json.loads((tmp_path / "out.json").read_text())
    failed = {r["name"]: r["gate_text"] for r in found["rows"] if r["verdict"] == "gate failed"}
    assert failed == {}
    assert done.returncode == 0, done.stderr
    names = {row["name"] for row in found["rows"]}
    assert {"frozen-study", "finetune-study", "frozen-cost", "pss-4"} <= names
    assert "fused-heads-resnet18-plain" in names
    skipped = {row["name"]: row["skipped"] for row in found["rows"] if row["verdict"] == "skipped"}
    assert set(skipped.values()) <= {"no GPU"}
    # Ray leaves its logs; everything else is gone, from the working folder as well.
    assert [path.name for path in short_temp.iterdir() if path.name != "ray"] == []
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
