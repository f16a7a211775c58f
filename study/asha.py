"""Early stopping of full-network trials, within their cell.

A trial with few labels is worse than one with many and should not be stopped for that: each
(mode, train_ratio) cell has an ASHA (Li et al., MLSys 2020) of its own. Frozen trials are cheap and
always run to the end, and so do trials that confirm a winner.
"""

from collections import Counter
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from tl_core.config import DIRECTIONS, Metric

_FACTOR = 3


class CellASHA(FIFOScheduler):
    """First in, first out; a full-network trial goes on only among the best third of its cell."""

    def __init__(self, metric: Metric, epochs: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._epochs = epochs
        self._reached: Counter[tuple[str, float, int]] = Counter()
        self._options: dict[str, Any] = {
            "metric": metric,
            "mode": DIRECTIONS[metric],
            "time_attr": "epoch",
            "max_t": epochs,
            "grace_period": max(1, epochs // 5),
            "reduction_factor": _FACTOR,
            "stop_last_trials": False,
        }
        self._cells: dict[tuple[str, float], AsyncHyperBandScheduler] = {}

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Give the trial to its cell."""
        if cell := self._cell(trial):
            cell.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Ask the cell whether the trial may go on."""
        cell = self._cell(trial)
        decision = cell.on_trial_result(tune_controller, trial, result) if cell else None
        here = (*_key(trial), result["epoch"])
        self._reached[here] += 1
        # The trial itself ends after its last epoch, and must end as done, not as stopped.
        ends = result["epoch"] >= self._epochs
        # Of fewer than three trials there is no best third.
        few = self._reached[here] < _FACTOR
        return str(TrialScheduler.CONTINUE if ends or few or decision is None else decision)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Tell the cell the last result."""
        if cell := self._cell(trial):
            cell.on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Tell the cell that the trial is gone."""
        if cell := self._cell(trial):
            cell.on_trial_remove(tune_controller, trial)

    def _cell(self, trial: Trial) -> AsyncHyperBandScheduler | None:
        if trial.config["mode"] == "freeze" or trial.config["kind"] != "search":
            return None
        return self._cells.setdefault(_key(trial), AsyncHyperBandScheduler(**self._options))


def _key(trial: Trial) -> tuple[str, float]:
    return trial.config["mode"], trial.config["train_ratio"]
