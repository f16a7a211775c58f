"""What more labels would buy: a mode's error at twice and four times the labels that there are.

An error is 1 minus a score: of accuracy the share of images that are wrong, of balanced accuracy
the mean of those of the classes, of AUROC the share of pairs of images that are ranked wrongly. All
are from 0 to 1. Nothing is extrapolated in macro F1, as 1 - F1 is no error rate: right and wrong
answers are in its denominator.

The error of a classifier falls with the number n of its labels about like a + b n^-g (Hestness et
al., Deep Learning Scaling is Predictable, 2017). A few cells cannot tell g, and with g = 0.5 the
curve is stable and predicts as well (Hoiem et al., Learning Curves for Analysis of Deep Networks,
ICML 2021). So the expected gain is that of g = 0.5. Its interval also has the gains of the other
exponents that fit the cells: with g = 0.5 alone, in simulated studies whose g is 0.3 or 0.8, it
held the true gain in less than half of them.

The fit may have an a below 0, as where the true g is larger. No error is below 0, so a is not, and
t times the labels then gain no more than the share 1 - t^-g of the error that is left. Gains are
held below that.

A steep start decides the fit, and a curve that has come to its end may still pass for one that goes
on. So the last step of the cells must show a gain, or the interval reaches down to none: in
simulated studies with nothing to gain, the curve alone told a gain in most.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import NamedTuple

import numpy as np

from study.analysis.comparisons import difference
from study.analysis.crossing import fits
from study.analysis.estimates import Confirmed, by_cell, kept_images
from study.analysis.images.joint_scores import constant_scores, joint_scores
from study.intervals.estimate import Estimate
from study.intervals.two_way import CONFIDENCE, Floats, MeanSquares
from tl_core.config import Mode

TIMES = (2, 4)
"""Multiples of the most labels that were tried."""
FEWEST = 4
"""Cells of a curve; three or fewer do not show that they lie on it."""
GAMMA = 0.5
"""The exponent of the curve."""
GAMMAS = (0.1, 0.2, 0.3, 0.4, GAMMA, 0.65, 0.8, 1.0)
"""Exponents that are tried for the interval."""


@dataclass(frozen=True)
class Extrapolation:
    """A score of a mode beyond its largest train_ratio."""

    mode: Mode
    score: str
    train_ratio: float
    """The largest that was tried."""
    gains: dict[int, Estimate]
    """Gain at each of `TIMES` the labels, with its interval on new photos."""
    levels: dict[int, Estimate]
    """The score there; likewise."""

    @property
    def flat(self) -> bool:
        """Whether no gain is shown, by the last step of the cells or even with the most labels."""
        return self.gains[TIMES[-1]].sign <= 0


class Projection(NamedTuple):
    """An error that is predicted: a sum of the R cells' errors, times weights."""

    weights: Floats
    """[R], with the exponent `GAMMA`."""
    low: float
    """95 % interval on new photos, over all exponents that fit."""
    high: float


def extrapolate(
    confirmed: Iterable[Confirmed],
    mode: Mode,
    labels: Callable[[float], float] = float,
    score: str = "test_accuracy",
) -> Extrapolation | None:
    """Extrapolate a score of a mode, from the seeds that all its cells share.

    `labels` tells how many a train_ratio has, in any unit: where whole groups train, a small one
    may have up to twice its share.

    None if 1 minus the score is no error rate (`constant_scores`), if there is no second seed, if a
    trial has not kept its outputs on the test set, if all its images, or those of a class, are of
    one group, if fewer than `FEWEST` cells, or not that of the most labels, are shown to be better
    than the most frequent class, if the curve does not fit them, or if more labels make the error
    larger.
    """
    known = {cell: there for cell, there in by_cell(confirmed).items() if cell.mode == mode}
    cells = {cell.train_ratio: there for cell, there in known.items()}
    seeds = set.intersection(*(set(there) for there in cells.values())) if cells else set()
    trials = [[there[seed] for seed in sorted(seeds)] for there in cells.values()]
    kept = [kept_images(cell) for cell in trials]
    if len(seeds) < 2 or not all(kept):
        return None
    first, numbers = kept[0][0], np.array([labels(ratio) for ratio in cells])
    constant = constant_scores(first.labels).get(score)
    scores = joint_scores(score, kept, _pseudo(len(kept))) if constant is not None else None
    if scores is None or constant is None:
        return None
    errors = replace(scores, means=1 - scores.means)
    used = _better_than(errors, 1 - constant)
    if len(used) < FEWEST or used[-1] != len(numbers) - 1:
        return None
    if (found := project(errors.part(used), numbers[used])) is None:
        return None
    means = np.array([1 - fmean(c.scores[score] for c in trials[i]) for i in used])
    groups = first.new_groups(score)
    about = Estimate(0.0, None, None, len(seeds), images=len(first.labels), groups=groups)
    now, most = means[-1], min(float(errors.combine(np.eye(len(numbers))[-1]).ends()[1]), 1.0)
    before, last = list(known)[-2:]
    step = difference(known, last, before, score)
    rises = step is not None and step.verdict == "better"
    gains, levels = {}, {}
    for times, gain in found[0].items():
        left = times**-GAMMA
        possible = now * (1 - left), most * (1 - times ** -max(GAMMAS))
        level = found[1][times]
        if not rises:
            gain = gain._replace(low=min(gain.low, 0.0))
            level = level._replace(high=max(level.high, most))
        gains[times] = _estimate(gain, means, 1, about, possible)
        levels[times] = _estimate(level, means, -1, about, (1 - now * left, 1.0))
    return Extrapolation(mode, score, max(cells), gains, levels)


def project(
    errors: MeanSquares, labels: Floats
) -> tuple[dict[int, Projection], dict[int, Projection]] | None:
    """Predict the gain, and the error, at `TIMES` the most labels.

    Cells count by the inverse of their variance over seeds and images. They share the test images,
    so their covariances are in every interval.

    Args:
        errors: of R cells.
        labels: rising, [R], in any unit.

    Returns:
        The error at the most labels minus that at more of them, and the error there; None if the
        curve does not fit, or rises.
    """
    n = labels / labels[-1]
    precision = 1 / errors.combine(np.eye(len(n))).error ** 2
    tried = {gamma: _fit(errors, n, gamma, precision) for gamma in GAMMAS}
    fitted = {gamma: weights for gamma, weights in tried.items() if weights is not None}
    curve = fitted.get(GAMMA)
    if curve is None or not fits(errors, _curve(n, GAMMA) @ curve):
        return None
    gains, values = {}, {}
    for times in TIMES:
        there = {g: (_curve(np.array([float(times)]), g) @ p)[0] for g, p in fitted.items()}
        now = {g: (_curve(np.array([1.0]), g) @ p)[0] for g, p in fitted.items()}
        values[times] = _envelope(errors, there)
        gains[times] = _envelope(errors, {g: now[g] - there[g] for g in fitted})
    return None if gains[TIMES[-1]].high < 0 else (gains, values)


def _fit(errors: MeanSquares, n: Floats, gamma: float, precision: Floats) -> Floats | None:
    """Weights of the cells in a and b, [2, R]; None if another exponent would fit better.

    The error changes with the exponent like n^-g ln n. What of this the curve itself can't follow
    is a direction in which the cells must not leave the curve.
    """
    design = _curve(n, gamma)
    weighted = design.T * precision
    parameters: Floats = np.linalg.pinv(weighted @ design) @ weighted
    followed: Floats = design[:, 1] * np.log(n)
    bend = (followed - design @ (parameters @ followed)) * precision
    p = errors.combine(bend / np.abs(bend).max()).p_value()
    return parameters if p >= 1 - CONFIDENCE else None


def _curve(n: Floats, gamma: float) -> Floats:
    """1 and n^-g, [any, 2]."""
    return np.stack([np.ones_like(n), n**-gamma], axis=1)


def _envelope(errors: MeanSquares, weights: Mapping[float, Floats]) -> Projection:
    low, high = errors.combine(np.array(list(weights.values()))).ends()
    return Projection(weights[GAMMA], float(low.min()), float(high.max()))


def _pseudo(cells: int) -> Floats:
    """Values of four pseudo-images of R cells, [R, 1, 4].

    Each cell has two right and two wrong, as a share has. One of each changes between the cells
    with few labels and those with many, so that a gain has a width where no image changes.
    """
    few = np.arange(cells) < cells / 2
    return np.stack([np.ones(cells), np.zeros(cells), few, ~few], axis=1)[:, None]


def _better_than(errors: MeanSquares, chance: float) -> np.ndarray:
    """Indices of the cells that are shown to be; with too few labels the curve has not begun."""
    _, high = errors.combine(np.eye(len(errors.means))).ends()
    return np.flatnonzero(high < chance)


def _estimate(
    p: Projection, means: Floats, sign: int, about: Estimate, possible: tuple[float, float]
) -> Estimate:
    """A gain, or with sign -1 a score, from the errors of the cells; `about` has the counts.

    Neither its mean nor the upper end of its interval is above what is `possible`.
    """
    mean, low, high = float(p.weights @ means), p.low, p.high
    if sign < 0:
        mean, low, high = 1 - mean, 1 - high, 1 - low
    lowest = -1.0 if sign > 0 else 0.0
    mean, low, high = (
        min(max(value, lowest), highest)
        for value, highest in zip((mean, low, high), (possible[0], 1.0, possible[1]), strict=True)
    )
    return replace(about, mean=mean, low=min(low, mean), high=max(high, mean))
