"""A study whose trials take known times, and which no process runs."""

import math
from pathlib import Path
from typing import Any

from study.cluster.capacity import Capacity
from study.cluster.stores import Folder
from study.diagnosis.estimate import trial_s
from study.diagnosis.observed import UNIT, Expected
from study.execution.study_trials import StudyTrials
from study.execution.time_budget import TimeBudget
from study.search.cells import Cell
from tests.support.studies.builders import make_epoch, make_settings, plain_shape
from tests.support.studies.counting_journal import CountingJournal

SHAPE = plain_shape(1000, 2, 512)


class TimedStudy:
    """A study on one place whose networks take one second an image, and its clock."""

    def __init__(
        self,
        folder: Path,
        journal: CountingJournal,
        end: float,
        resumed: bool = False,
        **given: Any,
    ) -> None:
        """Go on with the trials of a journal until `end`."""
        plain = {"mode": ("finetune", "scratch"), "train_ratio": (0.1, 0.4), "trials": 8}
        fixed = {"data": "photos", "name": "mine", "epochs": 2, "min_steps": 0, "confirm_seeds": 2}
        self.settings = make_settings(**fixed | plain | {"aux_weight": (0.0,)} | given)
        self.now, self.journal = 0.0, journal
        self.slower: dict[str, float] = {}
        """How many times as long trials of a kind, or of a mode, take."""
        before, one = journal.records, Capacity(1, 1, 0)
        goes_on = resumed or bool(before)
        expected = Expected(self.settings, SHAPE, before)
        limits = expected, one, Folder(folder), end
        self.budget = TimeBudget(*limits, clock=lambda: self.now, resumed=goes_on)
        winner = next((r for r in reversed(journal.records) if r.kind == "winner"), None)
        self.trials = StudyTrials(self.settings, folder, journal, winner, self.budget)

    def run(self) -> None:
        """Run trial after trial until none is left."""
        while batch := self.trials.queue.next():
            for record in self.trials.open(batch):
                seconds = trial_s(record.config, SHAPE, UNIT, batch[0].tests) or math.nan
                for name in (record.kind, record.config.mode):
                    seconds *= self.slower.get(name, 1.0)
                self.now += seconds
                epochs = range(1, record.config.epochs + 1)
                self.trials.report(record, [make_epoch(i) for i in epochs])
                self.trials.end(record)
                record.wall_s = seconds

    def cells(self, kind: str) -> dict[Cell, int]:
        """How many trials of a kind each cell has."""
        cells = [Cell.of(r.config) for r in self.journal.records if r.kind == kind]
        return {cell: cells.count(cell) for cell in dict.fromkeys(cells)}
