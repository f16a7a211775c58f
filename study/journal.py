"""Journal: one place that hears of every trial and tells ledger, files and display."""

import time
from pathlib import Path
from typing import Any, Protocol

from study.ledger import Ledger
from study.prepare import Prepared
from study.records import Kind, Status, TrialRecord
from study.results import Results
from study.sender import Sender
from tl_core.config import TrialConfig
from tl_core.epoch import EpochMetrics

_SAVE_S = 1.0


class Display(Protocol):
    """Shows the state of the study to whoever looks at the terminal."""

    def show(self, records: list[TrialRecord], ended: TrialRecord | None) -> None:
        """Called after every change; `ended` is the trial that has just ended, if one has."""

    def confirm(self, trials: int) -> None:
        """Called when the search is over and this many trials follow that confirm it."""


class Journal:
    """The records of a study, by number, and who is told of them."""

    def __init__(self, results: Results, ledger: Ledger) -> None:
        self.records: list[TrialRecord] = []
        self.displays: list[Display] = []
        self._results = results
        self._ledger = ledger
        self.expected: int | None = None
        """Trials that confirm the search, once it is over."""
        self._started: dict[int, float] = {}
        self._saved_at = 0.0

    def start(
        self,
        config: TrialConfig,
        trial: int = 0,
        kind: Kind = "search",
        source: int | None = None,
    ) -> TrialRecord:
        """Open the record of a trial; they may start in another order than they were drawn in."""
        record = TrialRecord(trial, config, kind=kind, source=source)
        self.records.append(record)
        self.records.sort(key=lambda r: r.trial)
        self._started[trial] = time.monotonic()
        self._ledger.start(record, self._about_trial(config))
        self._tell(None)
        return record

    def epoch(self, record: TrialRecord, metrics: EpochMetrics) -> None:
        """Add one epoch."""
        record.history.append(metrics)
        self._ledger.epoch(record.trial, metrics)
        self._tell(None)

    def end(
        self,
        record: TrialRecord,
        status: Status,
        error: str | None = None,
        files: list[Path] | None = None,
        model: Path | None = None,
    ) -> None:
        """Close the record of a trial; `model` is where it has left the winner's weights."""
        record.status, record.error = status, error
        record.wall_s = time.monotonic() - self._started.pop(record.trial)
        self._ledger.end(record, files or [], model)
        if time.monotonic() - self._saved_at > _SAVE_S:
            self._results.save(self.records)
            self._saved_at = time.monotonic()
        self._tell(record)

    def confirm(self, trials: int) -> None:
        """The search is over; this many trials follow that confirm it."""
        self.expected = trials
        for display in self.displays:
            display.confirm(trials)

    def interrupt(self) -> None:
        """Close every record that is still open."""
        for record in self.records:
            if record.status == "running":
                self.end(record, "interrupted")

    def close(self, status: str, files: list[Path]) -> None:
        """The study has ended with this status, and leaves these files."""
        self._ledger.close(status, files)

    def _tell(self, ended: TrialRecord | None) -> None:
        for display in self.displays:
            display.show(self.records, ended)

    def _about_trial(self, config: TrialConfig) -> dict[str, Any]:
        study = self._results.study
        split = self._results.split_hashes(config.train_ratio, config.seed)
        about: dict[str, Any] = {"data": study["data"]["name"], "split": split}
        if study["settings"]["debug"]:  # There is no parent run to say it.
            about |= {"versions": study["versions"], "hardware": study["hardware"]}
        return about


def open_journal(prepared: Prepared, sender: Sender) -> tuple[Journal, Results]:
    """Make the run's folder and open what is written to.

    Raises `InputError` when the folder can't be made, or when another run writes to it.
    """
    again = prepared.again
    results = Results(prepared.folder, prepared.settings, prepared.images, again)
    ledger = Ledger(prepared.folder)
    ledger.study(str(prepared.settings.name), results.study, again)
    sender.follow(prepared.folder)
    journal = Journal(results, ledger)
    journal.records.extend(prepared.before)
    for record in (r for r in prepared.before if r.status == "running"):
        record.status = "interrupted"  # Of a run that was killed.
        ledger.end(record, [])
    return journal, results
