"""Differences between cells, paired by seed and image, and whether they differ from zero.

Within a seed all cells share initial heads, batch order and nested training subsets, so the seed's
effect on both sides cancels in the difference (Bouthillier et al., MLSys 2021). All cells see the
same test images, so what makes an image hard cancels, too.

A study compares many pairs of modes at many ratios. Holm's procedure (Scandinavian Journal of
Statistics 6, 1979) keeps the chance of a single wrong verdict among all of a score below 5 %. It
takes p-values that share what seeds differ by (`study.intervals.moderated`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from study.analysis.estimates import Confirmed, by_cell, estimate_score, score_of
from study.intervals.estimate import Estimate
from study.intervals.moderated import moderated_p_values
from study.intervals.two_way import CONFIDENCE
from study.search.cells import Cell
from tl_core.aux_task import BRIGHTNESS, AuxTask
from tl_core.config import Metric

Verdict = Literal["better", "worse", "cannot tell"]
Cells = Mapping[Cell, Mapping[int, Confirmed]]
"""Confirming trials by cell and seed, as returned by `by_cell`."""


@dataclass(frozen=True)
class Difference:
    """Score of `a` minus score of `b`, over their common seeds."""

    a: Cell
    b: Cell
    score: str
    estimate: Estimate
    """Of a - b, in the score's own unit and direction."""
    p_holm: float | None = None
    """p of no difference, adjusted for all comparisons of the score; None if it is the only one."""

    @property
    def verdict(self) -> Verdict:
        """Whether `a` is better or worse than `b`, by `p_holm` or else its interval."""
        if self.estimate.sign == 0 or (self.p_holm or 0.0) >= 1 - CONFIDENCE:
            return "cannot tell"
        rises = self.estimate.sign > 0
        return "better" if rises == (score_of(self.score).better == "higher") else "worse"

    def p_worse_by(self, margin: float) -> float:
        """One-sided p of `a` being behind `b` by `margin` or more; 1 with one seed or group."""
        t = self.estimate.t
        if t is None or not self.estimate.tells:
            return 1.0
        lead = t if score_of(self.score).better == "higher" else -t
        return float(lead.p_not_above(-margin))

    def __neg__(self) -> "Difference":
        """The same difference with its sides swapped."""
        return Difference(self.b, self.a, self.score, -self.estimate, self.p_holm)


@dataclass(frozen=True)
class MultiTask:
    """A network's configuration compared with the control, which has aux_weight 0, by seed."""

    cell: Cell
    aux_weight: float | Literal["auto"]
    differences: Mapping[str, Difference]
    """With the auxiliary task minus without it, by score of the classification; the first one
    decides. So nothing helps by being good in one of two scores."""
    skill: Estimate
    """On the test images, with the task: R2 of a number; of classes, the share of a constant's
    wrong answers that are right (`AuxTask.scores`)."""
    error: Estimate
    """The same in the task's own unit: mean absolute error of a number, accuracy of classes."""
    baseline: float | None
    """The same of a constant, the training photos' mean or most frequent class; earlier studies
    lack it."""
    tuned: bool
    """Whether the control's learning rate was chosen as that of the other arm was."""
    task: AuxTask = BRIGHTNESS

    @property
    def may_be_learned(self) -> bool:
        """Whether the interval of its skill holds more than a constant's, which is 0."""
        return self.skill.high is not None and self.skill.high > 0

    @property
    def costs(self) -> bool:
        """Whether the classification is shown to be worse with it, learned or not."""
        return next(iter(self.differences.values())).verdict == "worse"

    @property
    def verdict(self) -> Literal["helped", "hurt", "cannot tell", "not learned"]:
        """The auxiliary task's effect on the classification.

        A task that was not learned predicts no better than a constant: its skill is 0 or less. What
        it does to the classification is then no effect of what it teaches, but of its weight, which
        takes from the classification's: see `costs`.
        """
        if self.skill.mean <= 0:
            return "not learned"
        names: dict[Verdict, Literal["helped", "hurt", "cannot tell"]]
        names = {"better": "helped", "worse": "hurt", "cannot tell": "cannot tell"}
        return names[next(iter(self.differences.values())).verdict]


def difference(cells: Cells, a: Cell, b: Cell, score: str) -> Difference | None:
    """Compare two cells over their common seeds; None if there are none."""
    paired = _paired(cells.get(a, {}), cells.get(b, {}), score)
    return Difference(a, b, score, paired) if paired else None


def mode_differences(
    confirmed: Iterable[Confirmed], score: str = "test_accuracy"
) -> list[Difference]:
    """Compare each pair of modes, in the order of `MODES`, at each ratio that both have.

    These comparisons are the family that `p_holm` is adjusted for.
    """
    cells = by_cell(confirmed)
    pairs = [(a, b) for a, b in combinations(cells, 2) if a.train_ratio == b.train_ratio]
    found = [d for a, b in pairs if (d := difference(cells, a, b, score))]
    family = [t for d in found if d.estimate.p is not None and (t := d.estimate.t)]
    compared = {cell for d in found for cell in (d.a, d.b)}
    # At each ratio, all comparisons follow from those with one mode.
    independent = len(compared) - len({cell.train_ratio for cell in compared})
    adjusted = iter(holm(moderated_p_values(family, independent)))
    return [
        d if (p := d.estimate.p) is None else replace(d, p_holm=max(p, next(adjusted)))
        for d in found
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number, in the same order."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min((len(p_values) - rank) * p_values[i], 1.0))
        adjusted[i] = highest
    return adjusted


def multi_tasks(
    confirmed: Iterable[Confirmed], metric: Metric = "val_log_loss", task: AuxTask = BRIGHTNESS
) -> list[MultiTask]:
    """Compare the arms with and without the auxiliary task, where a cell has both.

    The cell of most labels comes first. The test score that corresponds to `metric`, which scores
    the classification, decides.

    A control that was not tuned has the learning rate of the other arm. This is nearly fair: the
    weight scales the loss, and Adam's steps do not depend on the scale of the loss (Kingma and Ba,
    ICLR 2015, section 2.1).
    """
    trials = list(confirmed)
    cells = by_cell(trials)
    arms = [(cell, cells.get(cell, {}), c) for cell, c in by_cell(trials, "control").items()]
    found = [effect for arm in arms if (effect := _multi_task(*arm, metric, task))]
    return sorted(found, key=lambda effect: -effect.cell.train_ratio)


def _multi_task(
    cell: Cell,
    arm: Mapping[int, Confirmed],
    control: Mapping[int, Confirmed],
    metric: Metric,
    task: AuxTask,
) -> MultiTask | None:
    """Compare the arms of a cell; None if they have no seed in common."""
    tuned = all(c.tuned for c in control.values())
    if any(c.aux_weight == 0 for c in arm.values()):  # Then the control has the task.
        arm, control = control, arm
    decisive = metric.replace("val_", "test_")
    names = dict.fromkeys((decisive, "test_accuracy", "test_log_loss"))
    estimates = {name: e for name in names if (e := _paired(arm, control, name))}
    if not estimates:
        return None
    trials, (error, skill) = list(arm.values()), task.scores
    return MultiTask(
        cell,
        trials[0].aux_weight,
        {name: Difference(cell, cell, name, e) for name, e in estimates.items()},
        skill=estimate_score(f"test_{skill}", trials),
        error=estimate_score(f"test_{error}", trials),
        baseline=trials[0].scores.get(f"test_{error}_baseline"),
        tuned=tuned,
        task=task,
    )


def _paired(a: Mapping[int, Confirmed], b: Mapping[int, Confirmed], score: str) -> Estimate | None:
    """Estimate the mean of a - b over common seeds; None if there are none with the score."""
    common = [s for s in a if s in b and score in a[s].scores and score in b[s].scores]
    if not common:
        return None
    return estimate_score(score, [a[seed] for seed in common], [b[seed] for seed in common])
