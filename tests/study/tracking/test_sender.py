import io
import math
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from rich.console import Console

from study.records.ledger import Ledger
from study.records.study_folder import LEDGER
from study.tracking.sender import NullSender, ProcessSender, Show, close_sender, print_link
from study.tracking.sync_state import SyncState, events_left, read_sync_state
from tests.support.studies.builders import all_runs, make_about, make_settings
from tests.support.study_fixtures import Capture, Patch
from tl_core.errors import InputError


def test_a_ledger_is_sent_to_its_end(client: MlflowClient, uri: str) -> None:
    sender = ProcessSender(uri, "tl-study")
    ledger = Ledger(Path())
    ledger.study("mine", make_about())
    assert sender.wait_for_store() == sender.wait_for_store() == "1"
    sender.follow(Path())
    ledger.close("done", [])
    assert sender.close() is None
    assert [run.info.status for run in all_runs(client)] == ["FINISHED"]


def test_a_process_that_is_not_to_open_its_store_ends(tmp_path: Path, capfd: Capture) -> None:
    sender = ProcessSender(f"sqlite:///{tmp_path / 'mlflow.db'}", "tl-study")
    assert sender._process.stdin
    sender._process.stdin.close()
    assert sender._process.wait() == 0
    assert sender.close() is None
    assert [*tmp_path.iterdir()] == []
    assert capfd.readouterr().err == ""


def test_a_store_that_cannot_be_used(capfd: Capture) -> None:
    sender = ProcessSender("ftp://me:secret@127.0.0.1/x", "tl-study")
    unusable = r"^--tracking-uri ftp://127.0.0.1/x: .*unsuppor"
    with pytest.raises(InputError, match=unusable) as caught:
        sender.wait_for_store()
    assert sender.close() is None
    assert "secret" not in "".join([str(caught.value), *capfd.readouterr()])


@pytest.mark.parametrize(("sent", "why"), [
    (signal.SIGSTOP, "interrupted"),  # Stopped, as one whose store does not answer.
    (signal.SIGKILL, "the process that writes to MLflow has died"),
])  # fmt: skip
def test_a_slow_or_killed_process(sent: signal.Signals, why: str, uri: str, tmp_path: Path) -> None:
    def show(left: int) -> None:
        assert left == events_left(tmp_path) == 1
        raise KeyboardInterrupt

    sender = ProcessSender(uri, "tl-study")
    # The URI, which may have a password, is not on the command line.
    command = " ".join(sender._process.args)  # type: ignore[arg-type]
    assert "study.tracking.sync_process" in command
    assert "sqlite" not in command
    Ledger(tmp_path).study("mine", make_about())
    os.kill(sender._process.pid, sent)
    sender.follow(tmp_path)
    assert sender.close(show) == why
    assert sender._process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("within_s", "why"),
    [
        (0.1, "it took more than 0.1 s"),
        (math.inf, "nothing has arrived there for 0.1 s"),
    ],
)
def test_a_wait_has_limits(
    within_s: float, why: str, uri: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr("study.tracking.sender._STALLED_S", 0.1)
    sender = ProcessSender(uri, "tl-study")
    os.kill(sender._process.pid, signal.SIGSTOP)
    Ledger(tmp_path).study("mine", make_about())
    sender.follow(tmp_path)
    assert sender.close(within_s=within_s) == why


def test_a_store_that_does_not_open(uri: str, monkeypatch: Patch) -> None:
    monkeypatch.setattr("study.tracking.sender._OPENING_S", 0.0)
    sender = ProcessSender(uri, "tl-study")
    with pytest.raises(InputError, match=r"^--tracking-uri: the store has not answered in 0 s; "):
        sender.wait_for_store()
    assert sender.close() is None


def test_an_offline_study_notes_its_store(uri: str, tmp_path: Path) -> None:
    NullSender("http://me:secret@host").follow(tmp_path)
    NullSender(uri).follow(tmp_path)  # The first store stays.
    assert read_sync_state(tmp_path) == SyncState("http://host")


FOLDER = Path("runs/mine")


class LeavingSender(NullSender):
    """Leaves some events for the reason `why`, and records how long it could try."""

    def __init__(self, why: str | None) -> None:
        self._why = why
        self.within_s = 0.0

    def wait_for_store(self) -> str:
        return "7"

    def close(self, show: Show = print, within_s: float = 0.0) -> str | None:
        self.within_s = within_s
        show(3)
        return self._why


@pytest.fixture
def console() -> Console:
    FOLDER.mkdir(parents=True)
    (FOLDER / LEDGER).write_text('{"event": "study"}\n{"event": "start"}\n{"event": "ep')
    return Console(file=io.StringIO(), width=200, soft_wrap=True)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


UNSENT = "2 events are not in MLflow yet (it is gone); python study/sync.py mine sends them"


@pytest.mark.parametrize(("why", "interrupted", "within_s", "text"), [
    ("it is gone", False, float("inf"), f"warning: {UNSENT}\n"), (None, True, 8, ""),
])  # fmt: skip
def test_unsent_events_are_printed_with_the_command_that_sends_them(
    why: str | None, interrupted: bool, within_s: float, text: str, console: Console
) -> None:
    sender = LeavingSender(why)
    close_sender(sender, FOLDER, console, interrupted)
    assert (sender.within_s, printed(console)) == (within_s, text)
    SyncState("http://host", (FOLDER / LEDGER).stat().st_size).save(FOLDER)
    close_sender(sender, FOLDER, console, interrupted)
    assert printed(console) == text, "nothing is left"


def test_a_terminal_shows_a_wait_only_if_there_is_one(console: Console) -> None:
    terminal = Console(file=io.StringIO(), width=200, force_terminal=True)
    close_sender(NullSender("http://host"), FOLDER, terminal)
    assert printed(terminal) == ""
    close_sender(LeavingSender(None), FOLDER, terminal)
    assert "waiting for MLflow: 3 events left (Ctrl-C leaves them for later)" in printed(terminal)


def test_a_sender_that_ends_late_after_the_last_event_is_no_fault(console: Console) -> None:
    SyncState("http://host", (FOLDER / LEDGER).stat().st_size, {}).save(FOLDER)
    close_sender(LeavingSender("it took more than 8 s"), FOLDER, console, interrupted=True)
    assert printed(console) == ""


def test_what_the_store_says_of_the_winner_is_printed(console: Console) -> None:
    SyncState("http://host", (FOLDER / LEDGER).stat().st_size).save(FOLDER)
    sender = LeavingSender(None)
    sender.notes = ["MLflow has not registered the winner (no)"]
    close_sender(sender, FOLDER, console)
    assert printed(console) == "note: MLflow has not registered the winner (no)\n"


@pytest.mark.parametrize("debug", [False, True])
def test_link(debug: bool, console: Console) -> None:
    SyncState("http://host", 5, {"study": "the-run"}).save(FOLDER)
    settings = SimpleNamespace(offline=False, debug=debug, tracking_uri="http://me:secret@host")
    print_link(LeavingSender(None), FOLDER, settings, console)  # type: ignore[arg-type]
    assert printed(console).startswith("compare trials: http://host/#/experiments/7/")
    end = "CHART\n" if debug else "&viewStateShareKey=the-run\n"
    assert printed(console).endswith(end)
    print_link(NullSender(""), FOLDER, make_settings(offline=True), console)
    offline = (
        "this command sent nothing to MLflow (--offline); python study/sync.py mine sends what it "
        "lacks\n"
    )
    assert printed(console).endswith(end + offline)
