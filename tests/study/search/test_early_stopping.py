from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from study.search.early_stopping import CellASHA
from study.search.searcher import KEEPS
from tests.support.studies.builders import make_record
from tl_core.config import Metric, direction

CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP


class Cell:
    """Trials of one cell, each told to a scheduler as Ray Tune would."""

    def __init__(
        self, mode: str, ratio: float = 0.1, kind: str = "search", asha: CellASHA | None = None,
        metric: Metric = "val_log_loss",
    ) -> None:  # fmt: skip
        self.asha, self.metric = asha or CellASHA(metric, 10), metric
        self.config = {"mode": mode, "train_ratio": ratio, "kind": kind}
        self.n = 0

    def add(self) -> Any:
        """Add a trial."""
        self.n += 1
        config = self.config | {"trial": self.n}
        trial = SimpleNamespace(trial_id=f"{self.config}-{self.n}", config=config)
        self.asha.on_trial_add(None, trial)
        return trial

    def report(self, trial: Any, epoch: int, value: float, steps: int | None = None) -> str:
        """Report an epoch, after so many steps; return the scheduler's decision."""
        result = {"epoch": epoch, self.metric: value, "epochs": [{"step": 1}, {"step": steps}]}
        return self.asha.on_trial_result(None, trial, result)


@pytest.mark.parametrize(
    ("metric", "good", "bad"), [("val_log_loss", 0.1, 0.9), ("val_accuracy", 0.9, 0.1)]
)
def test_trial_worse_than_its_cell_is_stopped(metric: Metric, good: float, bad: float) -> None:
    assert (direction(metric) == "min") == (good < bad)
    cell = Cell("finetune", metric=metric)
    first, second, third = cell.add(), cell.add(), cell.add()
    # A fifth of ten epochs is free.
    assert [cell.report(trial, 1, bad) for trial in (first, second)] == [CONTINUE, CONTINUE]
    assert [cell.report(trial, 2, good) for trial in (first, second)] == [CONTINUE, CONTINUE]
    cell.asha.on_trial_complete(None, first, {"epoch": 10, metric: good})
    cell.asha.on_trial_remove(None, cell.add())
    # Those that ended still count; one that was removed midway is forgotten.
    assert cell.report(third, 2, bad) == STOP


def test_only_the_best_third_goes_on() -> None:
    cell = Cell("scratch")
    assert [cell.report(cell.add(), 2, loss) for loss in (0.1, 0.2)] == [CONTINUE] * 2
    assert cell.report(cell.add(), 2, 0.3) == STOP
    # Of 0.1, 0.2, 0.3 the best third ends at the percentile 33.3: 0.1667.
    assert cell.report(cell.add(), 2, 0.16) == CONTINUE
    assert cell.report(cell.add(), 2, 0.17) == STOP


@pytest.mark.parametrize("kind", ["repeat", "confirm", "control", "winner"])
def test_trials_that_follow_the_search_are_never_stopped(kind: str) -> None:
    cell = Cell("finetune", kind=kind)
    for loss in (0.1, 0.2, 0.9, 5.0):
        trial = cell.add()
        assert [cell.report(trial, epoch, loss) for epoch in range(1, 11)] == [CONTINUE] * 10
        cell.asha.on_trial_complete(None, trial, {"epoch": 10, "val_log_loss": loss})
        cell.asha.on_trial_remove(None, trial)


@pytest.mark.parametrize(("mode", "ratio"), [("finetune", 0.01), ("scratch", 0.8), ("lp_ft", 0.8)])
def test_trials_are_compared_within_their_cell(mode: str, ratio: float) -> None:
    asha = CellASHA("val_log_loss", 10)
    easy, hard = Cell("finetune", 0.8, asha=asha), Cell(mode, ratio, asha=asha)
    for _ in range(5):
        assert easy.report(easy.add(), 2, 0.01) == CONTINUE
    for _ in range(2):
        assert hard.report(hard.add(), 2, 0.6) == CONTINUE
    assert hard.report(hard.add(), 2, 0.9) == STOP


@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 9, 10])
def test_no_trial_is_stopped_at_its_last_epoch(epochs: int) -> None:
    cell = Cell("finetune", asha=CellASHA("val_log_loss", epochs))
    best = cell.add()
    assert [cell.report(best, epoch, 0.1) for epoch in range(1, epochs + 1)] == [CONTINUE] * epochs
    worst = cell.add()
    for epoch in range(1, epochs):
        cell.report(worst, epoch, 0.1)
    assert cell.report(worst, epochs, 0.9) == CONTINUE


@pytest.mark.parametrize(("epoch", "steps", "decision"), [
    (2, 99, CONTINUE), (2, 100, STOP), (2, None, STOP), (5, 99, CONTINUE), (5, 100, STOP),
])  # fmt: skip
def test_a_hundred_steps_are_free(epoch: int, steps: int | None, decision: str) -> None:
    cell = Cell("finetune")
    for _ in range(3):
        good = cell.add()
        assert [cell.report(good, i, 0.1, 1000) for i in range(1, epoch + 1)] == [CONTINUE] * epoch
    bad = cell.add()
    assert {cell.report(bad, i, 0.9, 10 * i) for i in range(1, epoch)} <= {CONTINUE}
    assert cell.report(bad, epoch, 0.9, steps) == decision


@pytest.mark.parametrize(("steps", "decision"), [(50, CONTINUE), (150, STOP)])
def test_rivals_of_earlier_runs_count_from_the_same_step(steps: int, decision: str) -> None:
    before = [
        make_record(i, mode="finetune", epochs=10, log_losses=(0.1,) * 2) for i in range(1, 4)
    ]
    for record in before:
        record.history = [replace(m, step=steps * m.epoch // 2) for m in record.history]
    frozen = make_record(7, log_losses=(0.1,) * 2)
    cell = Cell("finetune", asha=CellASHA("val_log_loss", 10, [*before, frozen]))
    cell.n = 10
    assert cell.report(cell.add(), 2, 0.9, 150) == decision


def test_a_job_that_only_keeps_its_place_stays_while_there_is_a_reason() -> None:
    waits = iter([True, False])
    holds = {"0": True, "1": False}
    asha = CellASHA("val_log_loss", 10, holds=holds.__getitem__, waits=lambda: next(waits))
    network, keeping = (SimpleNamespace(config={"kind": kind}) for kind in ("search", KEEPS))
    decisions = [
        asha.on_trial_result(None, job, {"waits": True, "gpu": gpu})
        for job, gpu in ((network, "0"), (network, "1"), (keeping, "1"), (keeping, "0"))
    ]
    assert decisions == ["CONTINUE", "STOP"] * 2


def test_a_worker_that_is_about_to_end_is_not_kept_for_the_next_job() -> None:
    network, message = SimpleNamespace(config={"kind": "search"}), {"waits": True, "gpu": "1"}
    asha = CellASHA("val_log_loss", 10)
    assert asha.on_trial_result(None, network, message) == STOP
    assert asha.on_trial_result(None, network, message | {"ends": True}) == CONTINUE
