"""Differences between cells, paired by seed, and whether they can be told from none.

Within a seed all cells share initial heads, batch order and nested training subsets, so what a
seed does to both sides cancels in the difference (Bouthillier et al., MLSys 2021). The intervals
are plain 95 % ones: of twenty comparisons of equals, one is expected to look different.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import pandas as pd

from study.analysis.estimates import SCORES, Cell, Confirmed, Estimate, by_cell, estimate

Verdict = Literal["better", "worse", "cannot tell"]
Cells = Mapping[Cell, Mapping[int, Confirmed]]
"""Confirming trials by cell and seed, as `by_cell` gives them."""

COMPARED = tuple(name for name in SCORES if name != "test_loss")
"""`test_loss` weighs the tasks by each cell's own aux_weight, so two cells measure it apart."""


@dataclass(frozen=True)
class Difference:
    """Score of `a` minus score of `b`, over the seeds that both have."""

    a: Cell
    b: Cell
    score: str
    estimate: Estimate
    """Of a - b, in the score's own unit and direction."""

    @property
    def verdict(self) -> Verdict:
        """Whether `a` is better than `b`: the interval leaves out zero on the good side."""
        if self.estimate.sign == 0:
            return "cannot tell"
        rises = self.estimate.sign > 0
        return "better" if rises == (SCORES[self.score].better == "higher") else "worse"

    def not_worse_by(self, margin: float) -> bool:
        """Whether the whole interval leaves `a` at most `margin` behind `b`; no, without one."""
        low, high = self.estimate.low, self.estimate.high
        if low is None or high is None:
            return False
        return low >= -margin if SCORES[self.score].better == "higher" else high <= margin


@dataclass(frozen=True)
class MultiTask:
    """The winner's configuration against the same one with aux_weight 0, paired by seed."""

    cell: Cell
    aux_weight: float | Literal["auto"]
    accuracy: Difference
    """With the auxiliary task minus without; as all three."""
    log_loss: Difference
    brightness_mae: Difference

    @property
    def verdict(self) -> Literal["helped", "hurt", "mixed", "cannot tell"]:
        """What the auxiliary task did to the classification.

        It helped if accuracy or log loss is better and neither is worse, and hurt the other way
        round; `mixed` if one is better and the other worse.
        """
        verdicts = {self.accuracy.verdict, self.log_loss.verdict}
        if verdicts >= {"better", "worse"}:
            return "mixed"
        if "better" in verdicts:
            return "helped"
        return "hurt" if "worse" in verdicts else "cannot tell"


def difference(cells: Cells, a: Cell, b: Cell, score: str) -> Difference | None:
    """Compare two cells over the seeds that both have; None if they share none."""
    paired = _paired(cells.get(a, {}), cells.get(b, {}), score)
    return Difference(a, b, score, paired) if paired else None


def mode_differences(
    confirmed: Iterable[Confirmed], score: str = "test_accuracy"
) -> list[Difference]:
    """Return each pair of modes at each ratio that both have, first mode first in `MODES`."""
    cells = by_cell(confirmed)
    pairs = [(a, b) for a, b in combinations(cells, 2) if a.train_ratio == b.train_ratio]
    found = [difference(cells, a, b, score) for a, b in pairs]
    return [d for d in found if d]


def differences_table(confirmed: Iterable[Confirmed]) -> pd.DataFrame:
    """Return `differences.csv`: a row for each pair of modes, ratio and score.

    Columns: train_ratio, a, b, score, n, mean, low, high, verdict (of a against b).
    """
    trials = list(confirmed)
    rows = [
        (d.a.train_ratio, d.a.mode, d.b.mode, d.score, e.n, e.mean, e.low, e.high, d.verdict)
        for score in COMPARED
        for d in mode_differences(trials, score)
        for e in (d.estimate,)
    ]
    names = ("train_ratio", "a", "b", "score", "n", "mean", "low", "high", "verdict")
    return pd.DataFrame(rows, columns=names)


def multi_task(confirmed: Iterable[Confirmed]) -> MultiTask | None:
    """Compare the arms with and without the auxiliary task.

    The control trains with the same learning rate, which is fair: Adam's steps do not change with
    the scale of the loss (Kingma and Ba, ICLR 2015, section 2.1), and the weight scales it.

    Returns:
        None if no control was run, or if the two arms have no seed in common.

    Raises:
        ValueError: there are controls of several cells.
    """
    trials = list(confirmed)
    controls = by_cell(trials, "control")
    if len(controls) > 1:
        raise ValueError(f"one cell, the winner's, has a control; found {list(controls)}")
    for cell, without in controls.items():
        if arm := by_cell(trials).get(cell):
            return _arms(cell, arm, without)
    return None


def _arms(
    cell: Cell, arm: Mapping[int, Confirmed], without: Mapping[int, Confirmed]
) -> MultiTask | None:
    if next(iter(arm.values())).aux_weight == 0:  # Then its control is the one with the task.
        arm, without = without, arm
    names = ("test_accuracy", "test_log_loss", "test_brightness_mae")
    found = [(name, _paired(arm, without, name)) for name in names]
    differences = [Difference(cell, cell, name, e) for name, e in found if e]
    if not differences:
        return None
    return MultiTask(cell, next(iter(arm.values())).aux_weight, *differences)


def _paired(a: Mapping[int, Confirmed], b: Mapping[int, Confirmed], score: str) -> Estimate | None:
    """Estimate the mean of a - b over the seeds in both; None if there are none."""
    # To where arithmetic rounds: heads that share nothing with the task differ by that alone.
    values = [round(a[seed].scores[score] - b[seed].scores[score], 6) for seed in a if seed in b]
    _, lowest, highest = SCORES[score]
    return estimate(values, lowest - highest, highest - lowest) if values else None
