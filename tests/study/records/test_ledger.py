from pathlib import Path

import pytest

from study.records.ledger import Ledger, read_events, read_records, read_state
from study.records.trial_record import TrialRecord
from tests.support.studies.builders import make_config, make_epoch, make_record
from tl_core.errors import InputError


@pytest.fixture
def record() -> TrialRecord:
    record = TrialRecord(1, make_config(lr=0.01), "failed", [make_epoch(1)], kind="confirm")
    record.source, record.test, record.wall_s = 0, {"test_accuracy": 0.5}, 2.5
    record.error, record.node = "out of memory\nsecond line", "10.0.0.1"
    return record


@pytest.fixture
def ledger(tmp_path: Path, record: TrialRecord) -> Ledger:
    """A ledger with one trial, `record`."""
    ledger = Ledger(tmp_path)
    ledger.study("mine", {"id": "0123", "classes": {"Käse <b>": 3, "d\udcffg": 1}})
    ledger.start(record, {})
    ledger.epoch(1, make_epoch(1))
    ledger.end(record, [Path("curves.png")])
    return ledger


def names(ledger: Ledger, offset: int = 0, most: int | None = None) -> list[str]:
    return [event["event"] for event, _ in read_events(ledger.path, offset, most)]


def test_what_is_written_is_read(ledger: Ledger, record: TrialRecord, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^another run of test_what\w+ is using "):
        Ledger(tmp_path)
    ledger.start(make_record(2), {})
    ledger.end(make_record(2), [], tmp_path / "winner")
    ledger.close("done", [])
    state = read_state(tmp_path)
    assert (state.name, state.status, state.winner) == ("mine", "done", state.records[2])
    assert state.about["classes"] == {"Käse <b>": 3, "d\udcffg": 1}  # The last is not UTF-8.
    events = [event for event, _ in read_events(ledger.path)]
    assert names(ledger) == ["study", "start", "epoch", "end", "start", "end", "close"]
    assert events[3]["files"] == [str(Path("curves.png").resolve())]
    record.started_at = events[1]["at"]
    assert read_records(tmp_path)[0] == record
    old = ledger.path.read_text().replace(', "node": "10.0.0.1"', "")
    ledger.path.write_text(old)
    assert read_records(tmp_path)[0].node is None, "an older ledger has no node"
    Ledger(tmp_path).study("mine", {}, again=True)
    assert read_state(tmp_path).status == "running"


def test_reading_continues_where_it_ended(ledger: Ledger, tmp_path: Path) -> None:
    two = read_events(ledger.path, most=2)
    middle, end = two[-1][1], ledger.path.stat().st_size
    assert names(ledger, most=2) + names(ledger, middle) == ["study", "start", "epoch", "end"]
    assert read_events(ledger.path, end) == []
    ledger.close("done", [])
    assert names(ledger, end) == ["close"]
    assert read_state(tmp_path, middle).records[1].status == "running"


def test_an_incomplete_line_is_no_event_and_is_removed(ledger: Ledger, tmp_path: Path) -> None:
    ledger.close("interrupted", [])
    content = ledger.path.read_bytes()
    for cut in range(1, 40):
        ledger.path.write_bytes(content[:-cut])
        assert names(ledger) == ["study", "start", "epoch", "end"]
    ledger.path.write_bytes(content + b'{"event": "ep')
    Ledger(tmp_path)
    assert ledger.path.read_bytes() == content


def test_a_resumed_trial_keeps_its_epochs_and_time(ledger: Ledger, tmp_path: Path) -> None:
    (before,) = read_records(tmp_path)
    ledger.start(before, {})
    (record,) = read_records(tmp_path)
    assert (record.status, record.error, record.history) == ("running", None, [make_epoch(1)])
    ledger.epoch(1, make_epoch(2))
    (record,) = read_records(tmp_path)
    assert len(record.history) == 2
    assert record.wall_s == pytest.approx(before.wall_s, abs=1)
