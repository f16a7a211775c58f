import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient

from study.records.ledger import Ledger
from study.tracking.sender import NullSender, ProcessSender, ThreadSender
from study.tracking.sync_state import SyncState, events_left, read_sync_state
from tests.support.studies.builders import all_runs, make_about
from tests.support.study_fixtures import Capture, Patch
from tl_core.errors import InputError


def test_a_ledger_is_sent_to_its_end(client: MlflowClient, uri: str) -> None:
    sender = ThreadSender(uri, "tl-study")
    ledger = Ledger(Path())
    ledger.study("mine", make_about())
    assert sender.wait_for_store() == sender.wait_for_store() == "1"
    sender.follow(Path())
    ledger.close("done", [])
    assert sender.close() is None
    assert [run.info.status for run in all_runs(client)] == ["FINISHED"]


def test_a_study_that_can_not_start_leaves_no_store(tmp_path: Path) -> None:
    sender = ThreadSender(f"sqlite:///{tmp_path / 'mlflow.db'}", "tl-study")
    assert sender.close() is None
    assert not [*tmp_path.iterdir()]


@pytest.mark.integration
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
    command = subprocess.check_output(["ps", "-o", "args=", "-p", str(sender._process.pid)])
    assert b"study.tracking.sync_process" in command
    assert b"sqlite" not in command
    Ledger(tmp_path).study("mine", make_about())
    os.kill(sender._process.pid, sent)
    sender.follow(tmp_path)
    assert sender.close(show) == why
    assert sender._process.returncode == -signal.SIGKILL


def test_a_slow_thread(uri: str, tmp_path: Path, monkeypatch: Patch) -> None:
    answers = threading.Event()
    follow = "study.tracking.sync_process.LedgerSync.follow"
    monkeypatch.setattr(follow, lambda *_: answers.wait() and None)
    sender = ThreadSender(uri, "tl-study")
    Ledger(tmp_path).study("mine", make_about())
    sender.follow(tmp_path)
    assert sender.close(within_s=0.1) == "it took more than 0.1 s"
    monkeypatch.setattr("study.tracking.sender._STALLED_S", 0.1)
    assert sender.close() == "nothing has arrived there for 0.1 s"
    answers.set()
    assert sender.close() is None


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
