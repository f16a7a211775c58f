"""Differences between cells, paired by seed, and whether they differ from zero.

Within a seed all cells share initial heads, batch order and nested training subsets, so the seed's
effect on both sides cancels in the difference (Bouthillier et al., MLSys 2021). The intervals are
plain 95 % intervals: of twenty comparisons of equal cells, one is expected to look different.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import pandas as pd

from study.analysis.estimates import SCORES, Cell, Confirmed, Estimate, by_cell, estimate

Verdict = Literal["better", "worse", "cannot tell"]
Cells = Mapping[Cell, Mapping[int, Confirmed]]
"""Confirming trials by cell and seed, as returned by `by_cell`."""

COMPARED = tuple(name for name in SCORES if name != "test_loss")
"""Without `test_loss`, which depends on each cell's own aux_weight."""


@dataclass(frozen=True)
class Difference:
    """Score of `a` minus score of `b`, over their common seeds."""

    a: Cell
    b: Cell
    score: str
    estimate: Estimate
    """Of a - b, in the score's own unit and direction."""

    @property
    def verdict(self) -> Verdict:
        """Whether `a` is better or worse than `b`: the interval must exclude zero."""
        if self.estimate.sign == 0:
            return "cannot tell"
        rises = self.estimate.sign > 0
        return "better" if rises == (SCORES[self.score].better == "higher") else "worse"

    def not_worse_by(self, margin: float) -> bool:
        """Whether `a` is at most `margin` behind `b` in the whole interval; False without one."""
        low, high = self.estimate.low, self.estimate.high
        if low is None or high is None:
            return False
        return low >= -margin if SCORES[self.score].better == "higher" else high <= margin


@dataclass(frozen=True)
class MultiTask:
    """The winner's configuration compared with the same one at aux_weight 0, paired by seed."""

    cell: Cell
    aux_weight: float | Literal["auto"]
    accuracy: Difference
    """With the auxiliary task minus without it; likewise the other two."""
    log_loss: Difference
    brightness_mae: Difference

    @property
    def verdict(self) -> Literal["helped", "hurt", "mixed", "cannot tell"]:
        """The auxiliary task's effect on the classification.

        `helped` if accuracy or log loss is better and neither is worse; `hurt` if one is worse and
        neither is better; `mixed` if one is better and the other worse.
        """
        verdicts = {self.accuracy.verdict, self.log_loss.verdict}
        if verdicts >= {"better", "worse"}:
            return "mixed"
        if "better" in verdicts:
            return "helped"
        return "hurt" if "worse" in verdicts else "cannot tell"


def difference(cells: Cells, a: Cell, b: Cell, score: str) -> Difference | None:
    """Compare two cells over their common seeds; None if there are none."""
    paired = _paired(cells.get(a, {}), cells.get(b, {}), score)
    return Difference(a, b, score, paired) if paired else None


def mode_differences(
    confirmed: Iterable[Confirmed], score: str = "test_accuracy"
) -> list[Difference]:
    """Compare each pair of modes, in the order of `MODES`, at each ratio that both have."""
    cells = by_cell(confirmed)
    pairs = [(a, b) for a, b in combinations(cells, 2) if a.train_ratio == b.train_ratio]
    return [d for a, b in pairs if (d := difference(cells, a, b, score))]


def differences_table(confirmed: Iterable[Confirmed]) -> pd.DataFrame:
    """Return `differences.csv`: a row for each pair of modes, ratio and score.

    Columns: train_ratio, a, b, score, n, mean, low, high, verdict (on a compared with b).
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

    The control has the same learning rate. This is fair: the weight scales the loss, and Adam's
    steps do not depend on the scale of the loss (Kingma and Ba, ICLR 2015, section 2.1).

    Returns None if there is no control, or if the two arms have no seed in common. Raises
    `ValueError` if several cells have controls.
    """
    trials = list(confirmed)
    controls = by_cell(trials, "control")
    if not controls:
        return None
    if len(controls) > 1:
        raise ValueError(f"only the winner's cell has a control; found {list(controls)}")
    ((cell, without),) = controls.items()
    arm = by_cell(trials).get(cell, {})
    if any(c.aux_weight == 0 for c in arm.values()):  # Then the control has the task.
        arm, without = without, arm
    names = ("test_accuracy", "test_log_loss", "test_brightness_mae")
    estimates = {name: e for name in names if (e := _paired(arm, without, name))}
    if not estimates:
        return None
    differences = [Difference(cell, cell, name, e) for name, e in estimates.items()]
    return MultiTask(cell, next(iter(arm.values())).aux_weight, *differences)


def _paired(a: Mapping[int, Confirmed], b: Mapping[int, Confirmed], score: str) -> Estimate | None:
    """Estimate the mean of a - b over common seeds; None if there are none."""
    # Rounding errors are no difference: frozen heads do not depend on the auxiliary task.
    values = [round(a[seed].scores[score] - b[seed].scores[score], 6) for seed in a if seed in b]
    _, lowest, highest = SCORES[score]
    return estimate(values, lowest - highest, highest - lowest) if values else None
