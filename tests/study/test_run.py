import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from study import run as run_module
from study.tracking.sender import NullSender, Show, show_nothing
from tests.conftest import QUICK
from tests.support.study_fixtures import Capture, Patch, Run
from tl_core.errors import InputError

SCRIPT = Path(run_module.__file__)
NOT_BEGUN = (
    "interrupted before the first trial; there is no study yet: the same command begins again, "
    "with what is in the cache by now\n"
)


def test_faults_are_printed_nothing_is_left(run: Run, photo_folder: Path, capsys: Capture) -> None:
    words = "--lr 0 --train-ratio 2 --mode cold --epochs 0 --name a/b"
    assert run("--data", photo_folder, *words.split(), "--out", "photos/cat/00.png") == 2
    first, *faults = capsys.readouterr().err.splitlines()
    assert first == "error: the study can't start"
    assert [fault.split(" ")[2] for fault in faults] == [
        "--mode", "--train-ratio", "--lr", "--epochs", "--name", "--out",
    ]  # fmt: skip
    assert not Path("runs").exists()


def test_a_fault_that_needs_torch(run: Run, photo_folder: Path, capsys: Capture) -> None:
    assert run("--data", photo_folder, *QUICK, "--gpus", 64) == 2
    title, fault = capsys.readouterr().err.splitlines()[-2:]
    assert title == "error: the study can't start"
    assert fault.startswith("  --gpus 64: this machine has ")
    assert not Path("runs").exists()


@pytest.mark.parametrize("at_start", [signal.default_int_handler, signal.SIG_IGN])
def test_sigterm_is_like_ctrl_c(
    run: Run, monkeypatch: Patch, capsys: Capture, at_start: Any
) -> None:
    def wait(given: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        threading.Event().wait(10)

    monkeypatch.setattr("study.preflight.prepare.prepare", wait)
    before = signal.signal(signal.SIGINT, at_start)
    try:
        assert run("--debug") == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == NOT_BEGUN


@pytest.mark.parametrize(("flag", "told"), [
    ("--resume", "interrupted; go on with: python study/run.py --resume tiny\n"),
    ("--extend", NOT_BEGUN.replace("there is no study yet", "the study is as it was")),
])  # fmt: skip
def test_a_study_that_is_stopped_before_it_goes_on_says_how(
    flag: str, told: str, run: Run, monkeypatch: Patch, capsys: Capture
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(
        "study.run.continued_setup", lambda _: SimpleNamespace(folder=Path("runs/tiny"))
    )
    monkeypatch.setattr("study.run.run_checks", stop)
    assert run(flag, "tiny") == 130
    assert capsys.readouterr().err == told


@pytest.mark.parametrize("error", [InputError(["no images"]), KeyboardInterrupt()])
def test_a_study_that_can_not_start_opens_no_store(
    run: Run, monkeypatch: Patch, error: BaseException
) -> None:
    called: list[str] = []

    class Watched(NullSender):
        def open_store(self) -> None:
            called.append("open")

        def close(self, show: Show = show_nothing, within_s: float = math.inf) -> str | None:
            called.append("close")
            return None

    def fail(setup: object) -> None:
        raise error

    monkeypatch.setattr("study.tracking.sender.make_sender", lambda _: Watched(""))
    monkeypatch.setattr("study.preflight.prepare.prepare", fail)
    assert run("--debug") == (2 if isinstance(error, InputError) else 130)
    assert called == ["close"]


def test_script_in_a_process_of_its_own() -> None:
    words = "--data nowhere --lr 0"
    command = [sys.executable, str(SCRIPT), *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "  --lr 0: must be greater than 0\n" in done.stderr
    assert not any(Path().iterdir())


@pytest.mark.parametrize("name", ["run", "doctor", "report", "predict", "sync", "manifest"])
def test_a_script_finds_its_own_packages(name: str, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    for file in ("study/__init__.py", "tl_core.py"):
        (tmp_path / file).write_text("raise ImportError('another package of this name')")
    script = SCRIPT.with_name(f"{name}.py")
    done = subprocess.run(
        [sys.executable, str(script), "--no-such-flag"], env=os.environ | {"PYTHONPATH": "."},
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "error: " in done.stderr.splitlines()[-1]
