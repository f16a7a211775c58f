import os
import signal
import subprocess
from pathlib import Path

import pytest
from mlflow import MlflowClient

from study.ledger import Ledger
from study.sender import OwnProcess, OwnThread, Sender
from tests.study.builders import all_runs
from tl_core.errors import InputError

ABOUT = {
    "id": "0123",
    "settings": {"debug": False, "metric": "val_log_loss", "aux_weight": [0.0]},
    "data": {"classes": {"cat": 1}},
}


@pytest.mark.parametrize("kind", [OwnProcess, OwnThread])
def test_a_ledger_is_sent_while_it_grows_and_to_its_end(
    kind: type[OwnProcess] | type[OwnThread], uri: str, client: MlflowClient, tmp_path: Path
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
    sender = OwnProcess("ftp://me:secret@127.0.0.1/x")
    with pytest.raises(InputError, match=r"^--tracking-uri ftp://127.0.0.1/x: .*unsupported URI"):
        sender.opened()
    assert sender.close() is None


def test_a_process_that_is_killed_is_told(uri: str, tmp_path: Path) -> None:
    sender = OwnProcess(uri)
    Ledger(tmp_path).study("mine", ABOUT)
    sender.opened()
    os.kill(sender._process.pid, signal.SIGKILL)
    sender._process.wait()
    sender.follow(tmp_path)
    assert sender.close() == "the process that writes to MLflow has died"


def test_the_uri_is_not_on_the_command_line(uri: str) -> None:
    sender = OwnProcess(uri)
    shown = subprocess.check_output(["ps", "-o", "args=", "-p", str(sender._process.pid)])
    sender.close()
    assert b"study.delivery" in shown
    assert b"sqlite" not in shown
