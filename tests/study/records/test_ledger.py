from pathlib import Path

import pytest

from study.records.ledger import Ledger, read_events, read_records, read_state
from study.records.trial_record import TrialRecord
from tests.support.studies.builders import make_config, make_epoch
from tl_core.errors import InputError


def write_some(folder: Path) -> Ledger:
    ledger = Ledger(folder)
    ledger.study("mine", {"id": "0123", "data": {"classes": {"Käse <b>": 3}}})
    record = TrialRecord(1, make_config(lr=0.01), kind="confirm", source=0)
    ledger.start(record, {})
    ledger.epoch(1, make_epoch(1))
    record.status, record.test, record.wall_s = "failed", {"test_accuracy": 0.5}, 2.5
    record.error = "out of memory\nsecond line"
    ledger.end(record, [Path("curves.png")])
    return ledger


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_some(tmp_path).close("done", [])
    state = read_state(tmp_path)
    assert state.name == "mine"
    assert state.about["data"]["classes"] == {"Käse <b>": 3}
    (record,) = read_records(tmp_path)
    assert record.config == make_config(lr=0.01)
    assert (record.trial, record.kind, record.source) == (1, "confirm", 0)
    assert record.history == [make_epoch(1)]
    assert (record.status, record.error) == ("failed", "out of memory\nsecond line")
    assert (record.test, record.wall_s) == ({"test_accuracy": 0.5}, 2.5)
    events = [event for event, _ in read_events(tmp_path / "ledger.jsonl")]
    assert [e["event"] for e in events] == ["study", "start", "epoch", "end", "close"]
    assert events[3]["files"] == [str(Path("curves.png").resolve())]
    assert record.started_at == events[1]["at"]


def test_reading_goes_on_where_it_ended(tmp_path: Path) -> None:
    ledger = write_some(tmp_path)
    two = read_events(ledger.path, most=2)
    rest = read_events(ledger.path, two[-1][1])
    assert [e["event"] for e, _ in two + rest] == ["study", "start", "epoch", "end"]
    end = rest[-1][1]
    assert end == ledger.path.stat().st_size
    assert read_events(ledger.path, end) == []
    ledger.close("done", [])
    assert [e["event"] for e, _ in read_events(ledger.path, end)] == ["close"]


def test_a_line_that_was_cut_is_no_event(tmp_path: Path) -> None:
    ledger = write_some(tmp_path)
    whole = ledger.path.read_bytes()
    for cut in range(1, 40):
        ledger.path.write_bytes(whole[:-cut])
        assert len(read_events(ledger.path)) == 3
    assert read_records(tmp_path)[0].status == "running"


def test_a_trial_that_goes_on_keeps_what_it_had(tmp_path: Path) -> None:
    ledger = write_some(tmp_path)
    (before,) = read_records(tmp_path)
    ledger.start(before, {})
    (record,) = read_records(tmp_path)
    assert (record.status, record.history) == ("running", before.history)
    assert record.history
    ledger.epoch(1, make_epoch(len(record.history) + 1))
    (record,) = read_records(tmp_path)
    assert record.wall_s == pytest.approx(before.wall_s, abs=1)


def test_line_that_a_kill_has_cut_is_cut_off(tmp_path: Path) -> None:
    write_some(tmp_path).close("interrupted", [])
    path = tmp_path / "ledger.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event": "ep')
    Ledger(tmp_path)
    assert path.read_bytes() == whole


def test_story_knows_how_the_study_ended_and_whose_weights_it_has(tmp_path: Path) -> None:
    ledger = write_some(tmp_path)
    record = TrialRecord(2, make_config(seed=5), status="done")
    ledger.start(record, {})
    ledger.end(record, [], tmp_path / "winner")
    ledger.close("done", [])
    state = read_state(tmp_path)
    assert (state.status, state.winner) == ("done", state.records[2])
    Ledger(tmp_path).study("mine", {}, again=True)
    assert read_state(tmp_path).status == "running"


def test_two_runs_do_not_write_to_one_folder(tmp_path: Path) -> None:
    ledger = write_some(tmp_path)
    with pytest.raises(InputError, match=r"^another run of test_two\w+ is at work in "):
        Ledger(tmp_path)
    ledger.close("done", [])
    Ledger(tmp_path)


def test_a_name_that_is_no_utf_8_survives(tmp_path: Path) -> None:
    Ledger(tmp_path).study("mine", {"classes": ["d\udcffg"]})
    assert read_state(tmp_path).about == {"classes": ["d\udcffg"]}
