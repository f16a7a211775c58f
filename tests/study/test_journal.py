import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from study.journal import Journal
from study.records import TrialRecord
from study.results import Results
from study.tracking import Tracker
from tests.study.builders import make_config, make_epoch, make_settings
from tl_core.config import Metric
from tl_core.datasets import ImageSet
from tl_core.fit import EpochMetrics
from tl_core.splits import make_split


class Spy(Tracker):
    """Notes what it is told instead of writing it."""

    def __init__(self) -> None:
        self.uri = "http://me:secret@host:5000"
        self.told: list[tuple[Any, ...]] = []

    def start_trial(self, study: str, record: TrialRecord, about: dict[str, Any]) -> None:
        self.told.append(("start", study, record.trial, about))

    def epoch(self, trial: int, metrics: EpochMetrics, at: float) -> None:
        self.told.append(("epoch", trial, metrics.epoch))

    def end_trial(self, record: TrialRecord, plots: list[Path] | None = None) -> None:
        self.told.append(("end", record.trial, record.status, record.error))

    def best(self, metric: Metric, best: TrialRecord, finished: int) -> None:
        self.told.append(("best", metric, best.trial, finished))


class Screen:
    """Notes what a display would show."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, int | None]] = []

    def show(self, records: list[TrialRecord], ended: TrialRecord | None) -> None:
        self.shown.append((len(records), ended.trial if ended else None))


@pytest.fixture
def spy() -> Spy:
    return Spy()


@pytest.fixture
def journal(images: ImageSet, spy: Spy, monkeypatch: pytest.MonkeyPatch) -> Journal:
    settings = make_settings(data="photos", train_ratio=["0.1", "0.8"])
    journal = Journal("mine", "val_log_loss", Results(Path("run"), settings, images), spy)
    # At once: what is told is looked at here, not when.
    monkeypatch.setattr(journal, "track", journal._track)
    return journal


def test_trials_are_numbered_in_the_order_they_start(journal: Journal, spy: Spy) -> None:
    records = [journal.start(make_config()) for _ in range(3)]
    assert [record.trial for record in records] == [0, 1, 2]
    assert journal.records == records
    assert [words[:3] for words in spy.told] == [("start", "mine", i) for i in range(3)]


def test_tracker_hears_the_hashes_of_the_trial_s_split(
    journal: Journal, spy: Spy, images: ImageSet
) -> None:
    journal.start(make_config(train_ratio=0.8))
    hashes = make_split(images.labels, 0.8).hashes(images.ids)
    assert spy.told[0][3] == {"data": images.name, "split": hashes}


def test_one_trial_from_start_to_end(journal: Journal, spy: Spy) -> None:
    screen = Screen()
    journal.displays.append(screen)
    record = journal.start(make_config())
    journal.epoch(record, make_epoch(1))
    journal.epoch(record, make_epoch(2))
    assert record.status == "running"
    journal.end(record, "done")
    assert (record.status, len(record.history)) == ("done", 2)
    assert record.wall_s > 0
    assert spy.told[1:] == [
        ("epoch", 0, 1),
        ("epoch", 0, 2),
        ("end", 0, "done", None),
        ("best", "val_log_loss", 0, 1),
    ]
    assert screen.shown == [(1, None), (1, None), (1, None), (1, 0)]


def test_best_is_told_when_it_changes_only(journal: Journal, spy: Spy) -> None:
    for loss in (0.5, 0.75, 0.25):
        record = journal.start(make_config())
        journal.epoch(record, make_epoch(val_log_loss=loss))
        journal.end(record, "done")
    bests = [words for words in spy.told if words[0] == "best"]
    assert bests == [("best", "val_log_loss", 0, 1), ("best", "val_log_loss", 2, 3)]


def test_failed_trial_keeps_its_reason_and_is_not_best(journal: Journal, spy: Spy) -> None:
    record = journal.start(make_config())
    journal.epoch(record, make_epoch())
    journal.end(record, "failed", "DivergedError: val_loss is nan in epoch 2")
    assert record.error == "DivergedError: val_loss is nan in epoch 2"
    assert spy.told[-1] == ("end", 0, "failed", record.error)


def test_interrupt_closes_what_is_open_only(journal: Journal, spy: Spy) -> None:
    ended, running, waiting = (journal.start(make_config()) for _ in range(3))
    journal.epoch(running, make_epoch())
    journal.end(ended, "done")
    journal.interrupt()
    assert [r.status for r in journal.records] == ["done", "interrupted", "interrupted"]
    assert [words[1] for words in spy.told if words[0] == "end"] == [0, 1, 2]
    told = len(spy.told)
    journal.interrupt()
    assert len(spy.told) == told
    assert waiting.wall_s > 0


def test_files_are_brought_up_to_date_once_a_second(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(100, 200))
    monkeypatch.setattr("study.journal.time.monotonic", lambda: next(clock))
    for n in range(1, 4):
        journal.end(journal.start(make_config()), "done")
        assert len(pd.read_csv("run/trials.csv")) == n
    monkeypatch.setattr("study.journal.time.monotonic", lambda: 110.0)
    journal.end(journal.start(make_config()), "done")
    journal.end(journal.start(make_config()), "done")
    assert len(pd.read_csv("run/trials.csv")) < 5


def test_study_goes_on_without_a_tracker_that_fails(
    journal: Journal, spy: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the server is gone\nand more")

    first = journal.start(make_config())
    monkeypatch.setattr(spy, "end_trial", fail)
    journal.end(first, "done")
    assert journal.tracking_error == "OSError: the server is gone"
    told = len(spy.told)
    second = journal.start(make_config())
    journal.epoch(second, make_epoch())
    journal.end(second, "done")
    journal.interrupt()
    assert len(spy.told) == told
    assert [record.status for record in journal.records] == ["done", "done"]
    assert pd.read_csv("run/trials.csv")["trial"].tolist() == [0]


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("", "OSError: OSError"),
        ("http://me:secret@host:5000 is down", "OSError: http://host:5000 is down"),
    ],
)
def test_why_tracking_failed_is_told_without_the_password(
    journal: Journal, message: str, told: str
) -> None:
    def fail(_: object) -> None:
        raise OSError(message)

    journal.track(fail)
    assert journal.tracking_error == told


class Slow(Spy):
    """A store that does not answer until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def epoch(self, trial: int, metrics: EpochMetrics, at: float) -> None:
        assert self.go.wait(60)
        super().epoch(trial, metrics, at)


def test_a_slow_store_keeps_nobody_waiting_and_misses_nothing(images: ImageSet) -> None:
    slow = Slow()
    settings = make_settings(data="photos", train_ratio=["0.1"])
    journal = Journal("mine", "val_log_loss", Results(Path("run"), settings, images), slow)
    record = journal.start(make_config())
    for epoch in (1, 2, 3):
        journal.epoch(record, make_epoch(epoch))
    journal.end(record, "done")
    assert not [words for words in slow.told if words[0] == "epoch"]
    slow.go.set()
    journal.close()
    assert [words[:3] for words in slow.told if words[0] == "epoch"] == [
        ("epoch", 0, epoch) for epoch in (1, 2, 3)
    ]
    assert ("end", 0, "done", None) in slow.told
