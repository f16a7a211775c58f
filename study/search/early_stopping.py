"""Early stopping of full-network trials, within their cell.

Each (mode, train_ratio) cell has an ASHA of its own (Li et al., MLSys 2020): a trial with few
labels is worse than one with many, and is not stopped for that. Frozen trials are cheap and always
run to the end, as do trials that confirm a winner.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from study.records.trial_record import ENDED, TrialRecord
from tl_core.config import DIRECTIONS, Metric

_FACTOR = 3


class CellASHA(FIFOScheduler):
    """First in, first out; a full-network trial goes on only among the best third of its cell."""

    def __init__(
        self,
        metric: Metric,
        epochs: int,
        before: Sequence[TrialRecord] = (),
        on_controller: Callable[[Any], object] = lambda _: None,
    ) -> None:
        """Compare trials by a metric.

        Args:
            metric: of the last epoch.
            epochs: of a trial that is not stopped.
            before: the trials of earlier runs of the study, which are rivals as well.
            on_controller: called once, before the first trial, with Ray Tune's controller.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._on_controller: Callable[[Any], object] | None = on_controller
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
        """Add the trial to its cell, with its epochs of earlier runs."""
        if tune_controller is not None and self._on_controller:
            self._on_controller(tune_controller)
            self._on_controller = None
        if cell := self._cell(trial):
            cell.on_trial_add(tune_controller, trial)
            record = self._before.get(trial.config["trial"])
            for metrics in record.history if record else ():
                self.on_trial_result(tune_controller, trial, asdict(metrics))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return whether the trial goes on, as its cell decides."""
        if "failure" in result:
            return str(TrialScheduler.CONTINUE)  # The trial ends by itself.
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
        if trial.config["mode"] == "freeze" or trial.config["kind"] != "search":
            return None
        return self._cells.setdefault(_key(trial), AsyncHyperBandScheduler(**self._options))


def _key(trial: Any) -> tuple[str, float]:
    return trial.config["mode"], trial.config["train_ratio"]
