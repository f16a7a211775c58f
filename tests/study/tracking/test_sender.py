import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient

from study.records.ledger import Ledger
from study.tracking.sender import NullSender, ProcessSender, Sender, ThreadSender
from study.tracking.sync_state import SyncState, events_left, read_sync_state
from tests.support.studies.builders import all_runs
from tl_core.errors import InputError

ABOUT = {
    "id": "0123",
    "settings": {"debug": False, "metric": "val_log_loss", "aux_weight": [0.0]},
    "data": {"classes": {"cat": 1}},
}


@pytest.mark.parametrize("kind", [ProcessSender, ThreadSender])
def test_a_ledger_is_sent_while_it_grows_and_to_its_end(
    kind: type[ProcessSender] | type[ThreadSender], uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    sender: Sender = kind(uri)
    ledger = Ledger(tmp_path)
    ledger.study("mine", ABOUT)
    assert sender.opened() == sender.opened() == "1"
    sender.follow(tmp_path)
    ledger.close("done", [])
    assert sender.close() is None
    assert [run.info.status for run in all_runs(client)] == ["FINISHED"]


def test_a_store_that_cannot_be_had_is_told() -> None:
    sender = ProcessSender("ftp://me:secret@127.0.0.1/x")
    with pytest.raises(InputError, match=r"^--tracking-uri ftp://127.0.0.1/x: .*unsupported URI"):
        sender.opened()
    assert sender.close() is None


def test_a_process_that_is_killed_is_told(uri: str, tmp_path: Path) -> None:
    sender = ProcessSender(uri)
    Ledger(tmp_path).study("mine", ABOUT)
    sender.opened()
    os.kill(sender._process.pid, signal.SIGKILL)
    sender._process.wait()
    sender.follow(tmp_path)
    assert sender.close() == "the process that writes to MLflow has died"


def test_who_waits_is_shown_what_is_left_and_may_leave_it(uri: str, tmp_path: Path) -> None:
    def leave(left: int) -> None:
        shown.append(left)
        raise KeyboardInterrupt

    shown, sender = list[int](), ProcessSender(uri)
    Ledger(tmp_path).study("mine", ABOUT)
    sender.opened()
    os.kill(sender._process.pid, signal.SIGSTOP)  # As a store that takes its time.
    sender.follow(tmp_path)
    assert sender.close(leave) == "interrupted"
    assert (shown, events_left(tmp_path)) == ([1], 1)
    assert sender._process.returncode == -signal.SIGKILL


def test_who_is_in_a_hurry_leaves_the_rest(uri: str, tmp_path: Path) -> None:
    sender = ProcessSender(uri)
    Ledger(tmp_path).study("mine", ABOUT)
    sender.opened()
    os.kill(sender._process.pid, signal.SIGSTOP)
    sender.follow(tmp_path)
    assert sender.close(within_s=0.1) == "it took more than 0.1 s"


def test_a_thread_may_be_left_alone(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()
    monkeypatch.setattr(
        "study.tracking.sync_process.SyncProcess.follow", lambda *_: let_go.wait() and None
    )
    sender = ThreadSender(uri)
    Ledger(tmp_path).study("mine", ABOUT)
    sender.follow(tmp_path)
    assert sender.close(within_s=0.1) == "it took more than 0.1 s"
    let_go.set()
    assert sender.close() is None


def test_a_study_that_is_not_sent_notes_where_it_would_be(uri: str, tmp_path: Path) -> None:
    NullSender("http://me:secret@host").follow(tmp_path)
    assert read_sync_state(tmp_path) == SyncState("http://host")
    NullSender(uri).follow(tmp_path)  # What was noted first, or sent, stays.
    assert read_sync_state(tmp_path) == SyncState("http://host")


def test_the_uri_is_not_on_the_command_line(uri: str) -> None:
    sender = ProcessSender(uri)
    shown = subprocess.check_output(["ps", "-o", "args=", "-p", str(sender._process.pid)])
    sender.close()
    assert b"study.tracking.sync_process" in shown
    assert b"sqlite" not in shown
