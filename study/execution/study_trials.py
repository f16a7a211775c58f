"""The trials of a running study: which is next, and what is written down of each."""

from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

from study.cluster.stores import Folder, bucket_of, storage_of
from study.config.settings import Settings
from study.execution.time_budget import TimeBudget
from study.records.journal import Journal
from study.records.outputs import outputs_name
from study.records.study_folder import WINNER
from study.records.trial_record import ENDED, Status, TrialRecord
from study.search.confirmation import Planned, plan, remaining, stage_name
from study.search.queue import TrialQueue
from study.trials.sweep import FinalScores, Swept, number_of
from study.trials.trial_context import checkpoint_name
from tl_core.config import FROZEN, EpochMetrics
from tl_core.files import replace_file


class StudyTrials:
    """Draws trials, and tells journal, files and search what becomes of them."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        journal: Journal,
        winner: TrialRecord | None,
        budget: TimeBudget | None = None,
    ) -> None:
        """Continue the study of a journal.

        Args:
            settings: of the study.
            folder: the study's.
            journal: has the trials of earlier runs, and gets those of this one.
            winner: the earlier trial whose weights are the study's.
            budget: says which trials may start; by default all.
        """
        self.settings, self.folder, self._journal = settings, folder.resolve(), journal
        self._bucket = bucket_of(settings)
        self._storage = storage_of(settings, folder)
        self._kept = winner
        self._planned: set[Planned] = set()
        """Those after the search: one that has failed may be planned again."""
        self._running: dict[int, tuple[Planned, TrialRecord]] = {}
        self._ended: set[int] = set()
        self._budget = budget
        bounds = [budget.admits] if budget else []
        self.queue = TrialQueue(settings, self._next_stage, journal.records, *bounds)

    def _next_stage(self) -> list[Planned]:
        records, is_first = self._journal.records, not self._planned
        if self._budget:
            self._budget.reconsider(["confirm"])
        stage = self._fitting_stage()
        if not stage and self._budget and self._budget.begin_alone():
            stage = self._fitting_stage()
        self._planned |= {*stage}
        if stage or is_first:
            self._journal.confirm(stage_name(self.settings, stage, records), stage)
        return stage

    def _fitting_stage(self) -> list[Planned]:
        """The next stage of which anything fits into the time."""
        records = self._journal.records
        while True:
            given_up = self._budget.given_up if self._budget else set()
            left = remaining(plan(self.settings, records, given_up), records, self._kept)
            new = [p for p in left if p not in self._planned]
            stage = self._budget.admitted(new) if self._budget else new
            if stage or not new:  # Else all of it was given up, and the next stage may do.
                return stage

    @property
    def records(self) -> list[TrialRecord]:
        """All trials so far, by number."""
        return self._journal.records

    def open(self, batch: Iterable[Planned]) -> list[TrialRecord]:
        """Return the open records of those that have not ended; start those that are new."""
        left = [p for p in batch if p.trial not in self._ended]
        is_new = any(number_of(p) not in self._running for p in left)
        with self._journal.together() if is_new else nullcontext():  # Its end waits for the disk.
            return [self._opened(p) for p in left]

    def _opened(self, p: Planned) -> TrialRecord:
        """The record of a trial, which may be open already."""
        number = number_of(p)
        if number not in self._running:
            record = self._journal.start(p.config, number, p.kind, p.source, p.draw)
            self._running[number] = p, record
        return self._running[number][1]

    def report(
        self,
        record: TrialRecord,
        epochs: Iterable[EpochMetrics],
        warnings: Iterable[str] = (),
        tested: FinalScores | None = None,
        node: str | None = None,
    ) -> None:
        """Write down what a trial has sent; `node` is where it runs, on a cluster."""
        for epoch in epochs:
            self._journal.epoch(record, epoch)
        for text in warnings:
            self._journal.warn(record, text)
        if tested:
            record.test, record.outputs = tested
        record.node = node

    def swept(self, found: Iterable[Swept], node: str | None = None) -> None:
        """Write down a sweep that has ended."""
        with self._journal.together():
            for trial in found:
                if trial.trial in self._ended:  # Its worker died after it had sent this.
                    continue
                record = self._running[trial.trial][1]
                self.report(record, trial.epochs, tested=trial.tested, node=node)
                if trial.error:
                    self.fail(record, trial.error, trial.details, trial.seconds)
                else:
                    self.end(record, trial.seconds)

    def end(self, record: TrialRecord, seconds: float | None = None) -> None:
        """Close the record of a trial that has ended by itself, or was stopped early.

        `seconds` are its share of a sweep; by default the time since it was started.
        """
        planned, _ = self._running.pop(record.trial)
        is_whole = len(record.history) == record.config.epochs
        model = self._winner() if planned.winner else None
        if self._bucket and record.outputs:  # The report reads them here.
            name = outputs_name(record.trial)
            Folder(self.folder).write(name, self._bucket.read(name))
        status: Status = "done" if is_whole else "pruned"
        self._journal.end(record, status, model=model, wall_s=seconds)
        if model:
            self._kept = record
        value = record.value(self.settings.metric)
        self._close(record, status, value)

    def give_back(self, record: TrialRecord) -> None:
        """Close the record of a trial until another worker continues it."""
        self._running.pop(record.trial)
        self._journal.end(record, "interrupted")

    def fail(
        self, record: TrialRecord, error: str, details: str, seconds: float | None = None
    ) -> None:
        """Keep the details in a file, and the error's first line in the tables."""
        self._running.pop(record.trial)
        file = self.folder / "failures" / f"{record.trial}.txt"
        file.parent.mkdir(exist_ok=True)
        replace_file(file, details)
        self._journal.end(record, "failed", error.splitlines()[0], files=[file], wall_s=seconds)
        self._close(record, "failed")

    def _close(self, record: TrialRecord, status: Status, value: float | None = None) -> None:
        self._ended.add(record.trial)
        self._storage.remove(checkpoint_name(record.trial))
        self.queue.ended(record.trial, status, len(record.history), value)

    def remove_checkpoints(self) -> None:
        """Remove what no trial continues from any more, of earlier runs as well.

        A worker may have written it after its trial ended, or a kill came before `_close`. Once the
        study is complete, trials that were cut off are no longer planned.
        """
        left_out = self._budget and self._budget.left_out
        complete = self.queue.finished and not left_out
        for record in self.records:
            if record.config.mode not in FROZEN and (complete or record.status in ENDED):
                self._storage.remove(checkpoint_name(record.trial))

    def warn(self, record: TrialRecord, text: str) -> None:
        """A trial has a problem and continues."""
        self._journal.warn(record, text)

    def _winner(self) -> Path:
        """The folder of the winner's weights: report, predictions and registry read it here."""
        if self._bucket:
            Folder(self.folder).replace(WINNER, self._bucket.folder(WINNER))
        return self.folder / WINNER
