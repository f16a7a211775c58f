"""Early stopping of networks that learn, within their cell.

Each (mode, train_ratio) cell has an ASHA of its own (Li et al., MLSys 2020): a trial with few
labels is worse than one with many, and is not stopped for that. No trial is stopped in its first
steps, when a small learning rate looks worse than it is. Trials that follow the search always run
to the end.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from study.records.trial_record import ENDED, TrialRecord
from study.search.searcher import KEEPS
from tl_core.config import FROZEN, Metric, direction

_FACTOR = 3
_FREE_STEPS = 100
"""Steps that every trial may take."""


class CellASHA(FIFOScheduler):
    """First in, first out; a trial of the search goes on only among the best third of its cell."""

    def __init__(
        self,
        metric: Metric,
        epochs: int,
        before: Sequence[TrialRecord] = (),
        holds: Callable[[str], bool] = lambda _: False,
        waits: Callable[[], bool] = lambda: False,
    ) -> None:
        """Compare trials by a metric.

        Args:
            metric: of the last epoch.
            epochs: of a trial that is not stopped.
            before: the trials of earlier runs of the study, which are rivals as well.
            holds: whether the workers of a GPU take no trial and wait.
            waits: whether workers wait for the study's next stage.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._epochs, self._holds, self._waits = epochs, holds, waits
        self._reached: dict[tuple[str, float, int], set[int]] = defaultdict(set)
        """Trials by cell and epoch."""
        self._options: dict[str, Any] = {
            "metric": metric,
            "mode": direction(metric),
            "time_attr": "epoch",
            "max_t": epochs,
            "grace_period": max(1, epochs // 5),
            "reduction_factor": _FACTOR,
            "stop_last_trials": False,
        }
        self._cells: dict[tuple[str, float], AsyncHyperBandScheduler] = {}
        self._before = {r.trial: r for r in before}
        for record in (r for r in before if r.status in ENDED and r.config.mode not in FROZEN):
            drawn = {"trial": record.trial, "kind": record.kind}
            drawn |= record.config.model_dump(include={"mode", "train_ratio"})
            self.on_trial_add(
                None, SimpleNamespace(trial_id=f"before {record.trial}", config=drawn)
            )

    def __getstate__(self) -> dict[str, Any]:
        # Ray saves the scheduler with the experiment; a study resumes from its ledger.
        return {}

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Add the trial to its cell, with its epochs of earlier runs."""
        if cell := self._cell(trial):
            cell.on_trial_add(tune_controller, trial)
            record = self._before.get(trial.config["trial"])
            for metrics in record.history if record else ():
                self.on_trial_result(tune_controller, trial, metrics.plain())

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return whether the trial goes on, as its cell decides."""
        if "waits" in result:
            if "ends" in result:  # That worker must not be kept for the next job.
                return str(TrialScheduler.CONTINUE)
            keeps = trial.config["kind"] == KEEPS
            stays = self._waits() if keeps else self._holds(result["gpu"])
            return str(TrialScheduler.CONTINUE if stays else TrialScheduler.STOP)
        if "failure" in result:
            return str(TrialScheduler.CONTINUE)  # The trial ends by itself.
        if not _past_free_steps(result):
            # The cell must not see it: it compares a trial once for several epochs.
            return str(TrialScheduler.CONTINUE)
        cell = self._cell(trial)
        decision = cell.on_trial_result(tune_controller, trial, result) if cell else None
        here = (*_key(trial), result["epoch"])
        self._reached[here].add(trial.config["trial"])
        # After its last epoch a trial ends by itself: as done, not as stopped.
        ends = result["epoch"] >= self._epochs
        # Fewer than three trials have no best third.
        few = len(self._reached[here]) < _FACTOR
        return str(TrialScheduler.CONTINUE if ends or few or decision is None else decision)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Tell the cell the last result."""
        if cell := self._cell(trial):
            cell.on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Tell the cell that the trial is gone."""
        if cell := self._cell(trial):
            cell.on_trial_remove(tune_controller, trial)

    def _cell(self, trial: Any) -> AsyncHyperBandScheduler | None:
        if trial.config["kind"] != "search":
            return None
        return self._cells.setdefault(_key(trial), AsyncHyperBandScheduler(**self._options))


def _key(trial: Any) -> tuple[str, float]:
    return trial.config["mode"], trial.config["train_ratio"]


def _past_free_steps(result: dict[str, Any]) -> bool:
    """Whether a trial has taken the steps that are free; yes if they were not counted."""
    last = result["epochs"][-1] if result.get("epochs") else result
    step = last.get("step")
    return step is None or bool(step >= _FREE_STEPS)
