import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from study.records.ledger import Event, Ledger, StudyState
from study.records.trial_record import TrialRecord
from study.tracking.sync_process import SyncProcess
from study.tracking.writer import MlflowWriter
from tests.support.studies.builders import make_config, make_epoch
from tl_core.errors import InputError


class Spy(MlflowWriter):
    """Notes what it is told, once it is flushed; fails as often as it is asked to."""

    def __init__(self) -> None:
        self.uri, self.experiment_id = "http://me:secret@host:5000", "7"
        self.run_ids = {}
        self.unsure = False
        self.sent: list[str] = []
        self.found: list[str] = []
        self.faults = 0
        self._told: list[str] = []

    def tell(self, event: Event, state: StudyState) -> None:
        self.run_ids[str(event.get("trial", "study"))] = "a run"
        self._told.append(f"{event['event']} {event.get('trial', state.name)}")

    def flush(self) -> None:
        if self.faults:
            self.faults -= 1
            raise OSError("http://me:secret@host:5000 is gone\nand more")
        self.sent += self._told
        self._told = []

    def find(self, study_id: str) -> None:
        self.found.append(study_id)

    def forget(self) -> None:
        self._told = []
        self.unsure = True


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    with (
        patch("study.tracking.sync_process._EVERY_S", 0.001),
        patch("study.tracking.sync_process._PATIENCE_S", 0.05),
    ):
        yield


def write_trial(ledger: Ledger, trial: int) -> None:
    record = TrialRecord(trial, make_config())
    ledger.start(record, {})
    ledger.epoch(trial, make_epoch(1))
    ledger.end(record, [])


WHOLE = ["study mine", "start 0", "epoch 0", "end 0", "start 1", "epoch 1", "end 1", "close mine"]


def ended() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


def test_everything_is_sent_in_order(ledger: Ledger, tmp_path: Path) -> None:
    spy = Spy()
    delivery = SyncProcess(tmp_path, spy)
    ledger.study("mine", {})
    write_trial(ledger, 0)
    assert delivery.push() is None
    assert delivery.push() is None
    assert spy.sent == WHOLE[:4]
    write_trial(ledger, 1)
    ledger.close("done", [])
    assert delivery.follow(ended()) is None
    assert spy.sent == WHOLE
    assert delivery.left() == 0
    state = json.loads((tmp_path / "mlflow.json").read_text())
    assert state["sent"] == ledger.path.stat().st_size
    assert state["runs"] == {"study": "a run", "0": "a run", "1": "a run"}


def test_what_failed_is_sent_again(ledger: Ledger, tmp_path: Path) -> None:
    spy = Spy()
    delivery = SyncProcess(tmp_path, spy)
    ledger.study("mine", {})
    write_trial(ledger, 0)
    spy.faults = 1
    assert delivery.push() == "OSError: http://host:5000 is gone"
    assert (spy.sent, spy.unsure, delivery.left()) == ([], True, 4)
    write_trial(ledger, 1)
    ledger.close("done", [])
    spy.faults = 3
    assert delivery.follow(ended()) is None
    assert spy.sent == WHOLE


def test_a_store_that_stays_away_is_given_up_at_the_end(ledger: Ledger, tmp_path: Path) -> None:
    spy = Spy()
    delivery = SyncProcess(tmp_path, spy)
    ledger.study("mine", {})
    ledger.close("done", [])
    spy.faults = 10**6
    assert delivery.follow(ended()) == "OSError: http://host:5000 is gone"
    assert delivery.left() == 2


def test_a_later_delivery_goes_on(ledger: Ledger, tmp_path: Path) -> None:
    first, second = Spy(), Spy()
    delivery = SyncProcess(tmp_path, first)
    ledger.study("mine", {})
    write_trial(ledger, 0)
    delivery.push()
    write_trial(ledger, 1)
    delivery.close()
    later = SyncProcess(tmp_path, second)
    assert (second.unsure, second.run_ids["0"]) == (True, "a run")
    ledger.close("done", [])
    assert later.follow(ended()) is None
    assert second.sent == WHOLE[4:]  # `close mine`: the story is known from its start.


def test_another_store_gets_everything(ledger: Ledger, tmp_path: Path) -> None:
    delivery = SyncProcess(tmp_path, Spy())
    ledger.study("mine", {})
    delivery.push()
    delivery.close()
    other = Spy()
    other.uri = "http://elsewhere:5000"
    assert SyncProcess(tmp_path, other).push() is None
    assert other.sent == WHOLE[:1]


def test_a_long_ledger_goes_in_pieces(ledger: Ledger, tmp_path: Path) -> None:
    spy = Spy()
    with patch("study.tracking.sync_process._MOST_EVENTS", 3):
        delivery = SyncProcess(tmp_path, spy)
        ledger.study("mine", {})
        write_trial(ledger, 0)
        write_trial(ledger, 1)
        ledger.close("done", [])
        assert delivery.push() is None
    assert spy.sent == WHOLE


def test_two_deliveries_of_one_study_do_not_meet(ledger: Ledger, tmp_path: Path) -> None:
    first: Any = SyncProcess(tmp_path, Spy())
    with pytest.raises(InputError, match="is being sent to MLflow by another process"):
        SyncProcess(tmp_path, Spy())
    first.close()
    SyncProcess(tmp_path, Spy())
