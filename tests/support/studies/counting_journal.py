"""A journal that keeps records in memory and writes no files."""

import resource
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from study.records.journal import Journal
from study.records.trial_record import Kind, Status, TrialRecord
from tl_core.config import EpochMetrics, TrialConfig


class CountingJournal(Journal):
    """Notes when each trial ends, and how much CPU time the driver had used by then."""

    def __init__(self) -> None:
        self.records, self.display = [], None
        self.ends: list[tuple[float, float]] = []
        """(Wall clock, driver's CPU time) at the end of each trial, seconds."""

    def start(
        self, config: TrialConfig, trial: int = 0, kind: Kind = "search",
        source: int | None = None, draw: int | None = None,
    ) -> TrialRecord:  # fmt: skip
        """Open a record, or open it again."""
        for record in (r for r in self.records if r.trial == trial):
            record.status, record.error = "running", None
            return record
        self.records.append(TrialRecord(trial, config, kind=kind, source=source, draw=draw))
        return self.records[-1]

    def together(self) -> AbstractContextManager[None]:
        """Nothing waits for a disk."""
        return nullcontext()

    def epoch(self, record: TrialRecord, metrics: EpochMetrics) -> None:
        """Add one epoch."""
        record.history.append(metrics)

    def end(
        self, record: TrialRecord, status: Status, error: str | None = None, *_: Any, **__: Any
    ) -> None:
        """Close a record."""
        record.status, record.error = status, error
        used = resource.getrusage(resource.RUSAGE_SELF)
        self.ends.append((time.perf_counter(), used.ru_utime + used.ru_stime))
