"""The journal: receives every change of a trial and passes it to the ledger, files and display."""

import time
from bisect import insort
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from study.records.ledger import Ledger
from study.records.study_files import Results
from study.records.trial_record import ENDED, Kind, Status, Trial, TrialRecord, as_text
from study.signals import uninterruptible
from tl_core.config import EpochMetrics, TrialConfig

_SAVE_S = 1.0
"""Shortest time between two writes of the files."""
_PAUSES = 20
"""Times what a write took, before the next: it takes the longer the more trials there are."""


class Display(Protocol):
    """Shows the state of the study on the terminal."""

    def show(self, ended: TrialRecord | None) -> None:
        """Called after every change; `ended` is the trial that has just ended, if any."""

    def warn(self, text: str) -> None:
        """Called when something fails and the study continues."""

    def confirm(self, stage: str, planned: Sequence[Trial]) -> None:
        """Called when a stage after the search begins, with its name and its trials."""


class Journal:
    """The records of a study, by number, and all that is updated with them."""

    def __init__(
        self, results: Results, ledger: Ledger, before: Sequence[TrialRecord] = ()
    ) -> None:
        self.records = list(before)
        self.display: Display | None = None
        self._results = results
        self._ledger = ledger
        self._started: dict[int, float] = {}
        self._by_number = {record.trial: record for record in before}
        self._next_save = 0.0

    @uninterruptible
    def start(
        self,
        config: TrialConfig,
        trial: int = 0,
        kind: Kind = "search",
        source: int | None = None,
        draw: int | None = None,
    ) -> TrialRecord:
        """Open the record of a trial; reopen it if the trial was interrupted.

        Trials may start in another order than they were drawn in.
        """
        record = self._by_number.get(trial)
        if record is None:
            record = TrialRecord(trial, config, kind=kind, source=source, draw=draw)
            self._by_number[trial] = record
            insort(self.records, record, key=lambda r: r.trial)
        record.status, record.error = "running", None
        self._started[trial] = time.monotonic() - record.wall_s
        self._ledger.start(record, self._about_trial(config))
        self._show(None)
        return record

    @uninterruptible
    def epoch(self, record: TrialRecord, metrics: EpochMetrics) -> None:
        """Add one epoch; ignore one that the trial has reported before its interruption."""
        if metrics.epoch <= len(record.history):
            return
        record.history.append(metrics)
        self._ledger.epoch(record.trial, metrics)
        self._show(None)

    @uninterruptible
    def warn(self, record: TrialRecord, text: str) -> None:
        """A trial has a problem and continues."""
        self._ledger.warning(record.trial, text)
        if self.display:
            self.display.warn(f"trial {record.trial}: {text}")

    @uninterruptible
    def end(
        self,
        record: TrialRecord,
        status: Status,
        error: str | None = None,
        files: list[Path] | None = None,
        model: Path | None = None,
        wall_s: float | None = None,
    ) -> None:
        """Close the record of a trial; `model` is the folder where it left the winner's weights.

        `wall_s` is its share of the time of trials that were computed together; by default it has
        taken all the time since its start.
        """
        record.status, record.error = status, as_text(error)
        since = time.monotonic() - self._started.pop(record.trial)
        record.wall_s = since if wall_s is None else wall_s
        self._ledger.end(record, files or [], model)
        if (began := time.monotonic()) > self._next_save:
            self._results.save(self.records)
            saved = time.monotonic()
            self._next_save = saved + max(_SAVE_S, _PAUSES * (saved - began))
        self._show(record)

    def together(self) -> AbstractContextManager[None]:
        """Inside, the changes of several trials reach the disk at once; see `Ledger`."""
        return self._ledger.together()

    def confirm(self, stage: str, planned: Sequence[Trial]) -> None:
        """A stage after the search begins, with these trials."""
        if self.display:
            self.display.confirm(stage, planned)

    def complete(self, trials: int) -> bool:
        """Whether the search has so many trials, and all of them have ended.

        Later ones may stay cut off: they are no longer planned if others were chosen since.
        """
        searched = [r.status for r in self.records if r.kind == "search"]
        return len(searched) == trials and all(status in ENDED for status in searched)

    def interrupt(self) -> None:
        """Close every open record."""
        for record in self.records:
            if record.status == "running":
                self.end(record, "interrupted")

    def save(self, status: str, winner: TrialRecord | None = None) -> None:
        """Write the study's files, with its status and its winner."""
        self._results.save(self.records, status, winner)

    def close(
        self, status: str, files: list[Path], outcome: Mapping[str, Any] | None = None
    ) -> None:
        """The study has ended with this status, and leaves these files and this answer."""
        self._ledger.close(status, files, outcome)

    def _show(self, ended: TrialRecord | None) -> None:
        if self.display:
            self.display.show(ended)

    def _about_trial(self, config: TrialConfig) -> dict[str, Any]:
        study = self._results.study
        split = self._results.split_hashes(config.train_ratio, config.seed)
        about: dict[str, Any] = {"data": study["data"]["name"], "split": split}
        if study["settings"]["debug"]:  # A single trial has no parent run with these.
            about |= {"versions": study["versions"], "hardware": study["hardware"]}
        return about
