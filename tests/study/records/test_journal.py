from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from study.records.journal import Journal
from study.records.ledger import Ledger, read_events, read_records
from study.records.study_files import Results
from study.records.trial_record import Trial, TrialRecord
from tests.support.studies.builders import make_config, make_epoch, make_record, make_settings
from tests.support.study_fixtures import Patch
from tl_core.data.datasets import ImageSet
from tl_core.data.splits import make_split

FOLDER = Path("run")


class Screen(SimpleNamespace):
    """Records what a display gets."""

    def show(self, ended: TrialRecord | None) -> None:
        self.shown.append(ended.trial if ended else None)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def confirm(self, stage: str, planned: Sequence[Trial]) -> None:
        self.confirming = planned


NOT_UTF8 = "FileNotFoundError: '/data/jos\udce9/w.safetensors'"


def test_an_error_may_name_a_file_that_is_not_utf8(journal: Journal) -> None:
    record = journal.start(make_config(train_ratio=0.8))
    journal.end(record, "failed", NOT_UTF8)
    journal.save("some trials failed")
    shown = "FileNotFoundError: '/data/jos\\udce9/w.safetensors'"
    assert pd.read_csv(FOLDER / "trials.csv")["error"].tolist() == [record.error] == [shown]
    # As earlier versions wrote it, which failed afterwards; and what has several lines.
    ledger = FOLDER / "ledger.jsonl"
    ledger.write_text(ledger.read_text().replace("\\\\udce9/w", "\\udce9/w\\nagain"))
    assert read_records(FOLDER)[0].error == shown.replace("/w", "/w\nagain")


@pytest.fixture
def journal(images: ImageSet) -> Journal:
    settings = make_settings(data="photos", train_ratio=["0.1", "0.8"])
    return Journal(Results(FOLDER, settings, images), Ledger(FOLDER))


def events() -> list[str]:
    all_events = [event for event, _ in read_events(FOLDER / "ledger.jsonl")]
    return [f"{event['event']} {event.get('trial', '')}".strip() for event in all_events]


def test_one_trial_from_start_to_end(journal: Journal, images: ImageSet) -> None:
    screen = Screen(shown=[], warnings=[])
    journal.display = screen
    record = journal.start(make_config(train_ratio=0.8), 3, "confirm", 1)
    journal.epoch(record, make_epoch(1))
    journal.epoch(record, make_epoch(2))
    journal.epoch(record, make_epoch(2))  # Repeated, as by a trial that was interrupted.
    journal.warn(record, "no room")
    assert record.status == "running"
    record.test = {"test_accuracy": 0.5}
    journal.end(record, "done")
    assert (record.status, len(record.history)) == ("done", 2)
    assert record.wall_s > 0
    assert events() == ["start 3", "epoch 3", "epoch 3", "warning 3", "end 3"]
    assert screen.shown == [None, None, None, 3]
    assert screen.warnings == ["trial 3: no room"]
    hashes = make_split(images.labels, 0.8).hashes(images.ids)
    start, _ = read_events(FOLDER / "ledger.jsonl")[0]
    assert start["about"] == {"data": images.name, "split": hashes}
    (read,) = read_records(FOLDER)
    read.started_at = record.started_at  # The record is microseconds older than its line.
    assert read == record
    record = journal.start(make_config(), 4)
    journal.end(record, "failed", "DivergedError: val_loss is nan in epoch 2")
    assert read_records(FOLDER)[1].error == "DivergedError: val_loss is nan in epoch 2"
    assert journal.start(make_config(), 4) is record
    assert (record.status, record.error) == ("running", None)


def test_a_search_is_complete_when_its_trials_have_ended(images: ImageSet) -> None:
    results = Results(FOLDER, make_settings(data="photos", train_ratio=["0.1"]), images)
    journal, screen = Journal(results, Ledger(FOLDER), [make_record(0)]), Screen(shown=[])
    journal.display = screen
    assert [journal.complete(trials) for trials in (0, 1, 2)] == [False, True, False]
    journal.confirm("confirming", planned := [make_record(seed=1)])
    assert screen.confirming == planned
    journal.start(make_config(seed=1), 2, "repeat", 0)
    assert journal.complete(1)
    record = journal.start(make_config(lr=0.5), 3)
    assert not journal.complete(2)
    journal.end(record, "failed")
    assert journal.complete(2)


def test_interrupt_closes_only_open_records(journal: Journal) -> None:
    running, ended, waiting = (journal.start(make_config(), trial) for trial in (1, 0, 2))
    journal.epoch(running, make_epoch())
    journal.end(ended, "done")
    journal.interrupt()
    found = [(r.trial, r.status) for r in journal.records]  # In the order of their numbers.
    assert found == [(0, "done"), (1, "interrupted"), (2, "interrupted")]
    assert events()[-3:] == ["end 0", "end 1", "end 2"]
    journal.interrupt()
    assert events().count("end 1") == 1
    assert waiting.wall_s > 0


@pytest.mark.parametrize(
    ("takes_s", "at"),
    [(0.0, [100.0, 101.5, 103.0, 104.5]), (0.25, [100.0, 105.75])],  # 20 times 0.25 s apart.
)
def test_files_are_written_once_a_second_or_less_often_if_it_takes_long(
    takes_s: float, at: list[float], journal: Journal, monkeypatch: Patch
) -> None:
    now, written = 100.0, list[float]()

    def save(*_: object) -> None:
        nonlocal now
        written.append(now)
        now += takes_s

    monkeypatch.setattr("study.records.journal.time.monotonic", lambda: now)
    monkeypatch.setattr(Results, "save", save)
    for n in range(12):
        journal.end(journal.start(make_config(), n), "done")
        now += 0.5
    assert written == at
    journal.save("done")  # The last write waits for nothing.
    assert len(written) == len(at) + 1
