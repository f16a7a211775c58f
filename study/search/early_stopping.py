"""Early stopping of full-network trials, within their cell.

A trial with few labels is worse than one with many and should not be stopped for that: each
(mode, train_ratio) cell has an ASHA (Li et al., MLSys 2020) of its own. Frozen trials are cheap and
always run to the end, and so do trials that confirm a winner.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from study.records.trial_record import ENDED, TrialRecord
from tl_core.config import DIRECTIONS, Metric

_FACTOR = 3


class CellASHA(FIFOScheduler):
    """First in, first out; a full-network trial goes on only among the best third of its cell.

    `before` are the trials of earlier runs of the study, which are its rivals.
    """

    def __init__(self, metric: Metric, epochs: int, before: Sequence[TrialRecord] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._epochs = epochs
        self._reached: dict[tuple[str, float, int], set[int]] = defaultdict(set)
        """Trials by cell and epoch."""
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
        self._before = {r.trial: r for r in before}
        for record in (r for r in before if r.status in ENDED):
            drawn = {"trial": record.trial, "kind": record.kind}
            drawn |= record.config.model_dump(include={"mode", "train_ratio"})
            self.on_trial_add(
                None, SimpleNamespace(trial_id=f"before {record.trial}", config=drawn)
            )

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Give the trial to its cell, with the epochs that it has had in earlier runs."""
        if cell := self._cell(trial):
            cell.on_trial_add(tune_controller, trial)
            record = self._before.get(trial.config["trial"])
            for metrics in record.history if record else ():
                self.on_trial_result(tune_controller, trial, asdict(metrics))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Ask the cell whether the trial may go on."""
        if "failure" in result:
            return str(TrialScheduler.CONTINUE)  # It ends by itself.
        cell = self._cell(trial)
        decision = cell.on_trial_result(tune_controller, trial, result) if cell else None
        here = (*_key(trial), result["epoch"])
        self._reached[here].add(trial.config["trial"])
        # The trial itself ends after its last epoch, and must end as done, not as stopped.
        ends = result["epoch"] >= self._epochs
        # Of fewer than three trials there is no best third.
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
        if trial.config["mode"] == "freeze" or trial.config["kind"] != "search":
            return None
        return self._cells.setdefault(_key(trial), AsyncHyperBandScheduler(**self._options))


def _key(trial: Any) -> tuple[str, float]:
    return trial.config["mode"], trial.config["train_ratio"]
