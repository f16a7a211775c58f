"""The trials of a study in order: those of the search, then, stage by stage, what confirms it."""

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from study.config.settings import Settings
from study.records.trial_record import ENDED, Status, TrialRecord
from study.search.cells import Cell
from study.search.confirmation import Planned
from study.search.sampler import Suggestions
from tl_core.config import FROZEN

BATCH = 16
"""Most frozen trials in a batch."""


class TrialQueue:
    """Draws trials, and hears how they end. It knows nothing of where they run.

    Networks come one by one, and frozen trials in batches that are computed together: those that
    follow each other, of one cell with `--design cells`.
    """

    def __init__(
        self,
        settings: Settings,
        plan: Callable[[], list[Planned]],
        before: Sequence[TrialRecord] = (),
        admits: Callable[[Planned], bool] = lambda _: True,
    ) -> None:
        """Plan a run of the study.

        Args:
            settings: of the study.
            plan: returns the trials of the next stage after the search, [] after the last one. It
                is called when all trials before have ended.
            before: the study's trials so far; those of the search that were cut off come first.
            admits: whether a trial may start; others are left to a later run.
        """
        self._numbers = itertools.count(max((r.trial for r in before), default=-1) + 1)
        self._suggestions = Suggestions(settings, before)
        self._settings, self._plan, self._admits = settings, plan, admits
        self._cut = deque(r for r in before if r.kind == "search" and r.status not in ENDED)
        self._stage: Iterator[Planned] = iter(())
        self._next: Planned | None = None
        self._is_last = False
        """Whether no stage follows this one, which makes the study's weights."""
        self._open: dict[int, int | None] = {}
        """Draws by the number of the trial; None for those after the search."""
        self.finished = False
        """Whether all trials have ended and no stage follows."""

    def next(self) -> list[Planned]:
        """Return a network or a batch, each trial with its number; [] while there is none."""
        batch: list[Planned] = []
        while len(batch) < BATCH and (planned := self._peek()):
            if batch and not self._joins(batch[-1], planned):
                break
            batch.append(self._take(planned))
            if self._was_last(planned) or not is_frozen(planned):
                break  # The next one learns from what has ended by then.
        return batch

    def waits(self) -> bool:
        """Whether more trials may come, but none before one has ended."""
        if self._cut or self._suggestions.drawn < self._settings.trials:
            return False  # One of the search is not drawn before it can start.
        return self._peek() is None and not (self.finished or self._is_last)

    @property
    def n_open(self) -> int:
        """How many trials it has returned that have not ended."""
        return len(self._open)

    def is_open(self, planned: Planned) -> bool:
        """Whether a trial that it has returned has not ended."""
        return planned.trial in self._open

    def ended(self, trial: int, status: Status, epoch: int = 0, value: float | None = None) -> None:
        """Hear how a trial has ended, at which epoch and with which value of the metric."""
        draw = self._open.pop(trial)
        if draw is not None:
            self._suggestions.tell(draw, status, epoch, value)

    def _peek(self) -> Planned | None:
        self._next = self._next or self._draw()
        return self._next

    def _take(self, planned: Planned) -> Planned:
        number = next(self._numbers) if planned.trial is None else planned.trial
        self._next, self._open[number] = None, planned.draw
        return replace(planned, trial=number)

    def _was_last(self, planned: Planned) -> bool:
        """Whether the search of a cell has drawn its last trial.

        The next cell begins with the best that this one has found, so it is not drawn before.
        """
        if self._settings.design == "joint" or planned.kind != "search":
            return False
        cell = Cell.of(planned.config)
        cut = any(Cell.of(record.config) == cell for record in self._cut)
        return not (cut or self._suggestions.has_turns(cell))

    def _joins(self, last: Planned, planned: Planned) -> bool:
        """Whether a trial belongs to the batch that ends with `last`."""
        if not (is_frozen(last) and is_frozen(planned)) or last.winner or planned.winner:
            return False
        joint = self._settings.design == "joint" and planned.kind == "search"
        return joint or Cell.of(last.config) == Cell.of(planned.config)

    def _draw(self) -> Planned | None:
        while self._cut:
            record = self._cut.popleft()
            planned = Planned(record.config, draw=record.draw, trial=record.trial)
            if self._may_start(planned):
                return planned
        while self._suggestions.drawn < self._settings.trials:
            draw, config = self._suggestions.ask()
            if self._may_start(planned := Planned(config, draw=draw)):
                return planned
        follows = next(filter(self._admits, self._stage), None)
        if follows or self._open or self.finished:
            return follows
        stage = self._plan()
        self._stage, self.finished = iter(stage), not stage
        self._is_last = any(planned.winner for planned in stage)
        return next(self._stage, None)

    def _may_start(self, planned: Planned) -> bool:
        """Whether a trial may start; if not, the search goes on as if it had failed."""
        if self._admits(planned):
            return True
        if planned.draw is not None:
            self._suggestions.tell(planned.draw, "failed")
        return False


def is_frozen(planned: Planned) -> bool:
    """Whether a trial learns heads alone."""
    return planned.config.mode in FROZEN
