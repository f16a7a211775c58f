"""Journal: one place that hears of every trial and tells results, tracking and display."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from study.prepare import Prepared
from study.records import Status, TrialRecord, best_of
from study.results import Results
from study.tracking import Tracker, reason
from tl_core.config import Metric, TrialConfig
from tl_core.fit import EpochMetrics

_SAVE_S = 1.0


class Display(Protocol):
    """Shows the state of the study to whoever looks at the terminal."""

    def show(self, records: list[TrialRecord], ended: TrialRecord | None) -> None:
        """Called after every change; `ended` is the trial that has just ended, if one has."""


class Journal:
    """The records of a study, in order, and who is told of them."""

    def __init__(self, name: str, metric: Metric, results: Results, tracker: Tracker) -> None:
        self.records: list[TrialRecord] = []
        self._name = name
        self._metric = metric
        self._results = results
        self._tracker = tracker
        self.tracking_error: str | None = None
        """Why the tracking store was given up; the files in the study's folder go on."""
        self._started: dict[int, float] = {}
        self._saved_at = 0.0
        self.displays: list[Display] = []
        # In a thread of its own, so that a slow store does not keep trials waiting.
        self._writer = ThreadPoolExecutor(1, "tracking")

    def start(self, config: TrialConfig) -> TrialRecord:
        """Open the record of a trial."""
        record = TrialRecord(len(self.records), config)
        self.records.append(record)
        self._started[record.trial] = time.monotonic()
        about = self._about_trial(config)
        self.track(lambda tracker: tracker.start_trial(self._name, record, about))
        self._tell(None)
        return record

    def epoch(self, record: TrialRecord, metrics: EpochMetrics) -> None:
        """Add one epoch."""
        record.history.append(metrics)
        now = time.time()
        self.track(lambda tracker: tracker.epoch(record.trial, metrics, now))
        self._tell(None)

    def end(
        self,
        record: TrialRecord,
        status: Status,
        error: str | None = None,
        files: list[Path] | None = None,
    ) -> None:
        """Close the record of a trial."""
        record.status, record.error = status, error
        record.wall_s = time.monotonic() - self._started.pop(record.trial)
        if time.monotonic() - self._saved_at > _SAVE_S:
            self._results.save(self.records)
            self._saved_at = time.monotonic()
        self.track(lambda tracker: tracker.end_trial(record, files))
        self._tell_best(record)
        self._tell(record)

    def track(self, tell: Callable[[Tracker], None]) -> None:
        """Have the tracker told something, in order, without waiting for it.

        After its first failure the study goes on without it.
        """
        self._writer.submit(self._track, tell)

    def close(self) -> None:
        """Wait until the tracker has been told everything; Ctrl-C gives the rest up."""
        try:
            self._writer.shutdown()
        except KeyboardInterrupt:
            self.tracking_error = "interrupted before everything was sent"
            self._writer.shutdown(wait=False, cancel_futures=True)
            raise

    def _track(self, tell: Callable[[Tracker], None]) -> None:
        if self.tracking_error:
            return
        try:
            tell(self._tracker)
        except Exception as error:  # Each store has its own exceptions; results are at stake.
            why = reason(error, self._tracker.uri)
            self.tracking_error = f"{type(error).__name__}: {why}"

    def interrupt(self) -> None:
        """Close every record that is still open."""
        for record in self.records:
            if record.status == "running":
                self.end(record, "interrupted")

    def _tell(self, ended: TrialRecord | None) -> None:
        for display in self.displays:
            display.show(self.records, ended)

    def _tell_best(self, ended: TrialRecord) -> None:
        best = best_of(self.records, self._metric)
        if best is ended:
            finished = sum(r.status != "running" for r in self.records)
            self.track(lambda tracker: tracker.best(self._metric, ended, finished))

    def _about_trial(self, config: TrialConfig) -> dict[str, Any]:
        study = self._results.study
        splits = study["splits"]
        train = splits[f"train_{config.train_ratio}"]
        about = {
            "data": study["data"]["name"],
            "split": {"train": train, "val": splits["val"], "test": splits["test"]},
        }
        if study["settings"]["debug"]:  # There is no parent run to say it.
            about |= {"versions": study["versions"], "hardware": study["hardware"]}
        return about


def open_journal(prepared: Prepared) -> tuple[Journal, Results, Tracker]:
    """Open what a run writes to, before any training.

    Raises `InputError` when the tracking store or the run's folder can't be had.
    """
    settings = prepared.settings
    # The tracker first: if it can't be had, no folder is left behind.
    tracker = Tracker(settings.tracking_uri)
    results = Results(prepared.folder, settings, prepared.images)
    return Journal(str(settings.name), settings.metric, results, tracker), results, tracker
