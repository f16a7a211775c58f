"""`python study/sync.py` on ledgers of studies that were offline, cut short, or go on."""

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from filelock import FileLock
from mlflow import MlflowClient

from study import sync
from study.records.ledger import Ledger
from study.records.trial_record import TrialRecord
from study.tracking.sender import NullSender
from study.tracking.sync_process import SyncProcess
from study.tracking.sync_state import SyncState
from study.tracking.writer import MlflowWriter
from tests.support.studies.builders import all_runs, make_config, make_epoch

Sync = Callable[..., int]
NAME = "mine"
FOLDER = Path("runs", NAME)


@pytest.fixture
def run_sync(uri: str) -> Sync:
    return lambda *words: sync.main([NAME, *map(str, words)])


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    with (
        patch("study.tracking.sync_process._EVERY_S", 0.01),
        patch("study.tracking.sync_process._PATIENCE_S", 0.05),
    ):
        yield


def write_study(uri: str, trials: int = 2, ended: bool = True) -> Ledger:
    """A study that ran with --offline; `ended` is whether its last trial and it have ended."""
    FOLDER.mkdir(parents=True)
    settings = {"debug": False, "metric": "val_log_loss", "aux_weight": [0.0], "tracking_uri": uri}
    about = {"id": "0123", "settings": settings, "data": {"classes": {"cat": 1}}}
    (FOLDER / "study.json").write_text(json.dumps(about))
    NullSender(uri).follow(FOLDER)
    ledger = Ledger(FOLDER)
    ledger.study(NAME, about)
    for trial in range(trials):
        record = TrialRecord(trial, make_config())
        ledger.start(record, {})
        ledger.epoch(trial, make_epoch(1, val_log_loss=0.5 + trial))
        if ended or trial < trials - 1:
            record.status = "done"
            ledger.end(record, [])
    if ended:
        ledger.close("done", [])
    return ledger


@contextmanager
def broken(error: BaseException, after: int) -> Iterator[None]:
    """Have the tracker fail once it has flushed some pieces of two events."""
    flush, calls = MlflowWriter.flush, itertools.count()

    def failing(tracker: MlflowWriter) -> None:
        if next(calls) >= after:
            raise error
        flush(tracker)

    with (
        patch.object(MlflowWriter, "flush", failing),
        patch("study.tracking.sync_process._MOST_EVENTS", 2),
    ):
        yield


def dump(client: MlflowClient) -> list[dict[str, Any]]:
    """All that the store says of the runs, every metric at every step included."""
    told = []
    for run in all_runs(client):
        history = {m: client.get_metric_history(run.info.run_id, m) for m in run.data.metrics}
        steps = {m: [(x.step, x.value, x.timestamp) for x in h] for m, h in history.items()}
        told.append(run.to_dictionary() | {"steps": steps})
    return told


def test_a_study_that_was_offline_is_sent_once(
    uri: str, client: MlflowClient, run_sync: Sync, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(uri)
    assert run_sync() == 0
    sent, *where = capsys.readouterr().out.splitlines()
    assert sent == "sent 8 events, of 2 trials"
    assert where[0].startswith("compare trials: ")
    once = dump(client)
    assert [run["info"]["status"] for run in once] == ["FINISHED"] * 3
    parent = client.get_run(once[0]["info"]["run_id"])
    assert f"viewStateShareKey={parent.info.run_id}" in where[1]
    assert parent.info.start_time <= parent.info.end_time

    assert run_sync() == 0
    assert capsys.readouterr().out.splitlines()[0] == "nothing to send"
    SyncState("http://elsewhere").save(FOLDER)  # As if it had gone to another store in between.
    assert run_sync("--tracking-uri", uri) == 0
    assert capsys.readouterr().out.splitlines()[0] == "sent 8 events, of 2 trials"
    assert dump(client) == once


def test_a_server_that_is_away_is_told_in_a_line(
    nobody: str, run_sync: Sync, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(nobody)
    assert run_sync() == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: not everything could be sent",
        f"  --tracking-uri {nobody}: Connection refused; what is to be sent stays in the ledger",
    ]


def test_what_has_not_ended_stays_running_until_it_has(
    uri: str, client: MlflowClient, run_sync: Sync, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = write_study(uri, ended=False)
    assert run_sync() == 0
    sent, note, *_ = capsys.readouterr().out.splitlines()
    assert sent == "sent 6 events, of 2 trials"
    assert note == "note: not ended, so RUNNING in MLflow: the study, trial 1"
    assert [run.info.status for run in all_runs(client)] == ["RUNNING", "FINISHED", "RUNNING"]
    ledger.end(TrialRecord(1, make_config(), "done"), [])
    ledger.close("done", [])
    assert run_sync() == 0
    assert capsys.readouterr().out.startswith("sent 2 events, of 1 trial\n")
    assert [run.info.status for run in all_runs(client)] == ["FINISHED"] * 3


def test_a_folder_will_do_and_another_store(
    uri: str, client: MlflowClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study("http://127.0.0.1:9")
    assert sync.main([str(tmp_path / FOLDER), "--tracking-uri", uri]) == 0
    assert len(all_runs(client)) == 3
    assert sync.main([NAME, "--out", "runs"]) == 0  # Now it belongs there.


@pytest.mark.parametrize(
    ("words", "faults"),
    [
        (["yours"], "no study yours in runs/; there are: mine"),
        ([NAME, "--out", "elsewhere"], "no study mine in elsewhere/; there is none; --out names"),
        ([NAME, "--tracking-uri", "http://me:secret@127.0.0.1:9"], "--tracking-uri http://127.0.0"),
        ([NAME, "--tracking-uri", "ftp://x"], "--tracking-uri ftp://x: "),
    ],
)
def test_what_cannot_be_done_is_told(
    words: list[str], faults: str, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(uri)
    assert sync.main(words) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"error: not everything could be sent\n  {faults}")
    assert "secret" not in told.err + told.out


def test_another_delivery_is_waited_for_then_told(
    uri: str, run_sync: Sync, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(uri)
    with FileLock(FOLDER / ".mlflow.lock"):
        assert run_sync() == 2
    assert "the ledger in runs/mine is being sent to MLflow by another" in capsys.readouterr().err


def test_a_store_that_dies_on_the_way_leaves_the_rest(
    uri: str, run_sync: Sync, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(uri)
    with broken(OSError("gone"), after=2):
        assert run_sync() == 2
    told = capsys.readouterr()
    assert told.out == "sent 4 events, of 1 trial; 4 events left\n"
    assert f"--tracking-uri {uri}: OSError: gone" in told.err
    assert run_sync() == 0
    assert capsys.readouterr().out.startswith("sent 4 events, of 1 trial\n")
    assert [run.info.status for run in all_runs(client)] == ["FINISHED"] * 3


def test_ctrl_c_keeps_what_was_sent(
    uri: str, run_sync: Sync, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(uri)
    with broken(KeyboardInterrupt(), after=2):
        assert run_sync() == 130
    told = capsys.readouterr()
    assert told.out == "sent 4 events, of 1 trial; 4 events left\n"
    assert told.err == "interrupted; the same command sends the rest\n"
    assert run_sync() == 0
    assert [run.info.status for run in all_runs(client)] == ["FINISHED"] * 3


def test_a_run_that_was_made_twice_is_one_in_the_end(
    uri: str, run_sync: Sync, client: MlflowClient
) -> None:
    """The answer to its making was lost, and it was there only after it had been looked for."""
    write_study(uri)
    create = MlflowClient.create_run

    def twice(self: MlflowClient, *args: Any) -> Any:
        create(self, *args)
        return create(self, *args)

    with patch.object(MlflowClient, "create_run", twice):
        assert run_sync() == 0
    keys = [run.data.tags["tl_study.key"] for run in all_runs(client)]
    assert keys == ["0123/study", "0123/0", "0123/1"]
    assert [run.info.status for run in all_runs(client)] == ["FINISHED"] * 3


def test_a_delivery_tells_how_far_it_is(uri: str, client: MlflowClient) -> None:
    write_study(uri)
    delivery, left, ended = SyncProcess(FOLDER, MlflowWriter(uri)), list[int](), threading.Event()
    ended.set()
    with patch("study.tracking.sync_process._MOST_EVENTS", 3):
        assert delivery.follow(ended, lambda: left.append(delivery.left())) is None
    assert left == [5, 2, 0]
