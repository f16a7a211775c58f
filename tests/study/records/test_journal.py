from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from study.records.journal import Journal
from study.records.ledger import Ledger, read_events, read_records
from study.records.study_files import Results
from study.records.trial_record import TrialRecord
from tests.support.studies.builders import make_config, make_epoch, make_record, make_settings
from tl_core.config import TrialConfig
from tl_core.data.datasets import ImageSet
from tl_core.data.splits import make_split

FOLDER = Path("run")


class Screen:
    """Records what a display gets."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, int | None]] = []
        self.confirming: Sequence[TrialConfig] = ()
        self.warnings: list[str] = []

    def show(self, records: list[TrialRecord], ended: TrialRecord | None) -> None:
        self.shown.append((len(records), ended.trial if ended else None))

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def confirm(self, planned: Sequence[TrialConfig]) -> None:
        self.confirming = planned


@pytest.fixture
def journal(images: ImageSet) -> Journal:
    settings = make_settings(data="photos", train_ratio=["0.1", "0.8"])
    return Journal(Results(FOLDER, settings, images), Ledger(FOLDER))


def events() -> list[str]:
    all_events = [event for event, _ in read_events(FOLDER / "ledger.jsonl")]
    return [f"{event['event']} {event.get('trial', '')}".strip() for event in all_events]


def test_records_are_in_the_order_of_their_numbers(journal: Journal) -> None:
    for trial in (1, 0, 2):
        journal.start(make_config(), trial)
    assert [record.trial for record in journal.records] == [0, 1, 2]
    assert events() == ["start 1", "start 0", "start 2"]


def test_ledger_has_the_hashes_of_the_trial_s_split(journal: Journal, images: ImageSet) -> None:
    journal.start(make_config(train_ratio=0.8))
    hashes = make_split(images.labels, 0.8).hashes(images.ids)
    ((start, _),) = read_events(FOLDER / "ledger.jsonl")
    assert start["about"] == {"data": images.name, "split": hashes}


def test_one_trial_from_start_to_end(journal: Journal) -> None:
    screen = Screen()
    journal.displays.append(screen)
    record = journal.start(make_config(), 3, "confirm", 1)
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
    assert screen.shown == [(1, None), (1, None), (1, None), (1, 3)]
    assert screen.warnings == ["trial 3: no room"]
    (read,) = read_records(FOLDER)
    read.started_at = record.started_at  # The record is microseconds older than its line.
    assert read == record


def test_a_study_is_complete_when_search_and_confirmation_have_ended(images: ImageSet) -> None:
    results = Results(FOLDER, make_settings(data="photos", train_ratio=["0.1"]), images)
    before = make_record(1)
    before.kind = "confirm"  # Of an earlier run; it does not count among those that follow.
    journal, screen = Journal(results, Ledger(FOLDER), [make_record(0), before]), Screen()
    journal.displays.append(screen)
    assert not journal.complete(1)
    journal.confirm([make_config(seed=1)])
    assert screen.confirming == [make_config(seed=1)]
    record = journal.start(make_config(seed=1), 2, "confirm", 0)
    assert not journal.complete(1)
    journal.end(record, "done")
    assert journal.complete(1)
    assert not journal.complete(2)


def test_failed_trial_keeps_its_reason_until_it_starts_again(journal: Journal) -> None:
    record = journal.start(make_config())
    journal.end(record, "failed", "DivergedError: val_loss is nan in epoch 2")
    assert read_records(FOLDER)[0].error == "DivergedError: val_loss is nan in epoch 2"
    assert journal.start(make_config()) is record
    assert (record.status, record.error) == ("running", None)


def test_interrupt_closes_only_open_records(journal: Journal) -> None:
    ended, running, waiting = (journal.start(make_config(), trial) for trial in range(3))
    journal.epoch(running, make_epoch())
    journal.end(ended, "done")
    journal.interrupt()
    assert [r.status for r in journal.records] == ["done", "interrupted", "interrupted"]
    assert events()[-3:] == ["end 0", "end 1", "end 2"]
    journal.interrupt()
    assert events().count("end 1") == 1
    assert waiting.wall_s > 0


def test_files_are_written_at_most_once_a_second(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(100, 200))
    monkeypatch.setattr("study.records.journal.time.monotonic", lambda: next(clock))
    for n in range(3):
        journal.end(journal.start(make_config(), n), "done")
        assert len(pd.read_csv(FOLDER / "trials.csv")) == n + 1
    monkeypatch.setattr("study.records.journal.time.monotonic", lambda: 110.0)
    journal.end(journal.start(make_config(), 3), "done")
    journal.end(journal.start(make_config(), 4), "done")
    assert len(pd.read_csv(FOLDER / "trials.csv")) < 5
