"""Gives Ray Tune the trials of a study in order: the search, then its confirming trials."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ray.tune.search import Searcher

from study.config.settings import Settings
from study.records.trial_record import ENDED, Status, TrialRecord
from study.search.confirmation import Planned
from study.search.sampler import Suggestions
from tl_core.config import DIRECTIONS, TrialConfig


class StudySearcher(Searcher):
    """Gives Ray Tune trial after trial, and Optuna the results of the search."""

    def __init__(
        self,
        settings: Settings,
        plan: Callable[[], list[Planned]],
        before: Sequence[TrialRecord],
        frozen: int,
    ) -> None:
        """Plan a run of the study.

        Args:
            settings: of the study.
            plan: returns the trials that follow the search.
            before: the study's trials so far; those of the search that were cut off come first.
            frozen: how many trials in mode `freeze` may run at a time; they ask Ray for too little
                CPU for Ray to limit them.
        """
        super().__init__(settings.metric, DIRECTIONS[settings.metric])
        self._numbers = itertools.count(max((r.trial for r in before), default=-1) + 1)
        self._suggestions = Suggestions(settings, before)
        self._trials = settings.trials
        self._plan = plan
        self._cut = iter([r for r in before if r.kind == "search" and r.status not in ENDED])
        self._planned: Iterator[Planned] | None = None
        self._held: Planned | None = None
        """The next trial, while it waits for a place."""
        self._places, self._frozen = frozen, set[str]()
        self._open: dict[str, tuple[int, int]] = {}
        """Trials of the search by Ray's id: number of the draw, epochs."""

    def __getstate__(self) -> dict[str, Any]:
        # Ray saves the searcher with the experiment; a study resumes from its ledger.
        return {}

    def suggest(self, trial_id: str) -> Any:
        """Return the next trial, None while there is none yet, or `FINISHED`."""
        self._held = self._held or self._next()
        if self._held is None:
            # Confirming trials depend on the results of the search.
            return None if self._open else Searcher.FINISHED
        if self._held.config.mode == "freeze" and len(self._frozen) >= self._places:
            return None
        planned, self._held = self._held, None
        return self._start(trial_id, planned)

    def _next(self) -> Planned | None:
        for record in self._cut:
            return Planned(record.config, draw=record.draw, trial=record.trial)
        if self._suggestions.drawn < self._trials:
            draw, config = self._suggestions.ask()
            return Planned(config, draw=draw)
        if self._open:
            return None
        if self._planned is None:
            self._planned = iter(self._plan())
        return next(self._planned, None)

    def _start(self, trial_id: str, planned: Planned) -> dict[str, Any]:
        if planned.config.mode == "freeze":
            self._frozen.add(trial_id)
        if planned.draw is not None:
            self._open[trial_id] = planned.draw, planned.config.epochs
        return as_drawn(next(self._numbers) if planned.trial is None else planned.trial, planned)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell Optuna how a trial of the search has ended."""
        self._frozen.discard(trial_id)
        if trial_id not in self._open:
            return
        number, epochs = self._open.pop(trial_id)
        if error or not result or "failure" in result or self.metric not in result:
            self._suggestions.tell(number, "failed")
            return
        status: Status = "done" if result["epoch"] >= epochs else "pruned"
        self._suggestions.tell(number, status, result["epoch"], float(result[self.metric]))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: see `__getstate__`."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


def as_drawn(number: int, planned: Planned) -> dict[str, Any]:
    """A trial as Ray Tune's configuration; `mode` decides its resources, and both its rivals."""
    config = planned.config
    return {
        "trial": number,
        "kind": planned.kind,
        "source": planned.source,
        "winner": planned.winner,
        "draw": planned.draw,
        "mode": config.mode,
        "train_ratio": config.train_ratio,
        "config": config.model_dump(),
    }


def config_of(drawn: dict[str, Any]) -> TrialConfig:
    """The configuration of a trial that Ray Tune runs."""
    return TrialConfig(**drawn["config"])
