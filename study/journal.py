"""Journal: one place that hears of every trial and tells results, tracking and display."""

import time
from pathlib import Path
from typing import Any, Protocol

from study.records import Status, TrialRecord, best_of
from study.results import Results
from study.tracking import Tracker
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
        self._started: dict[int, float] = {}
        self._saved_at = 0.0
        self.displays: list[Display] = []

    def start(self, config: TrialConfig) -> TrialRecord:
        """Open the record of a trial."""
        record = TrialRecord(len(self.records), config)
        self.records.append(record)
        self._started[record.trial] = time.monotonic()
        self._tracker.start_trial(self._name, record, self._about_trial(config))
        self._tell(None)
        return record

    def epoch(self, record: TrialRecord, metrics: EpochMetrics) -> None:
        """Add one epoch."""
        record.history.append(metrics)
        self._tracker.epoch(record)
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
        self._tracker.end_trial(record, files)
        self._tell_best(record)
        if time.monotonic() - self._saved_at > _SAVE_S:
            self._results.save(self.records)
            self._saved_at = time.monotonic()
        self._tell(record)

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
            self._tracker.best(self._metric, best, finished)

    def _about_trial(self, config: TrialConfig) -> dict[str, Any]:
        splits = self._results.study["splits"]
        train = splits[f"train_{config.train_ratio}"]
        return {"split": {"train": train, "val": splits["val"], "test": splits["test"]}}
