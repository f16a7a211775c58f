"""What labels buy: where one mode overtakes another, and how few labels do as well as all."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal

import numpy as np

from study.analysis.comparisons import Cells, Difference, difference
from study.analysis.estimates import CONFIDENCE, SCORES, Cell, Confirmed, by_cell, estimate
from tl_core.config import Mode

MARGIN = 0.01
"""How much worse, in accuracy, still counts as a match: one image in a hundred."""
RESAMPLES = 10_000
"""Of the seeds, for the interval of a crossover."""


@dataclass(frozen=True)
class Crossover:
    """Where `after` takes the lead over `before` for good as labels grow."""

    before: Mode
    """Ahead below the ratio; if nothing crosses, the mode that is behind throughout."""
    after: Mode
    """Ahead from the ratio on."""
    score: str
    status: Literal["seen", "none seen", "not resolved"]
    """`seen`: intervals show `before` ahead at some ratio below, and `after` at some above.
    `none seen`: `after` is ahead in the mean at all ratios, and by its interval at some.
    """
    ratio: float | None
    """Interpolated in log train_ratio; None if the mean differences never change sign."""
    low: float | None
    """95 % interval of the ratio; None where it lies outside the ratios studied, or where there
    is no interval for want of a ratio or a second seed.
    """
    high: float | None


@dataclass(frozen=True)
class LabelsSaved:
    """The smallest ratio from which on `a` does as well as `b` at `b`'s largest ratio."""

    a: Mode
    b: Mode
    ratio_b: float
    margin: float
    match: Difference | None
    """`a` at that ratio minus `b` at `ratio_b`; None if `a` is not shown to match."""

    @property
    def ratio(self) -> float | None:
        """Where `a` matches; None if nowhere."""
        return self.match.a.train_ratio if self.match else None


def crossovers(confirmed: Iterable[Confirmed], score: str = "test_accuracy") -> list[Crossover]:
    """Return one for each pair of modes that share seeds at two ratios or more.

    Modes may change places more than once; the crossover is where the mode that leads at the
    largest ratio takes the lead for the last time. Its interval is a percentile bootstrap over
    seeds (Efron and Tibshirani 1993, chapter 13): a seed is drawn with its results at all ratios,
    since they are paired. A draw in which that mode leads from the start counts as a crossover
    below all ratios, one in which it ends behind as one above them. With the few seeds of a study
    such an interval is somewhat too narrow.
    """
    cells = by_cell(confirmed)
    found = [_crossover(cells, a, b, score) for a, b in combinations(_modes(cells), 2)]
    return [c for c in found if c]


def labels_saved(
    confirmed: Iterable[Confirmed], score: str = "test_accuracy", margin: float = MARGIN
) -> list[LabelsSaved]:
    """Return one for each ordered pair of modes, a mode with itself included.

    "Not different" would be no match: wide intervals are never different. `a` matches if it is
    shown not to be worse (non-inferiority): the whole 95 % interval of the paired difference lies
    above -margin. Ratios are tried from the largest down, to the first that fails, so that trying
    several makes a false match no likelier than trying one (a fixed-sequence test: Westfall and
    Krishen, Journal of Statistical Planning and Inference 99, 2001).

    Args:
        confirmed: the confirming trials.
        score: what must match.
        margin: how much worse is still a match, in the score's unit.
    """
    cells = by_cell(confirmed)
    return [_saved(cells, a, b, score, margin) for a, b in product(_modes(cells), repeat=2)]


def _modes(cells: Cells) -> list[Mode]:
    return list(dict.fromkeys(cell.mode for cell in cells))


def _ratios(cells: Cells, mode: Mode) -> list[float]:
    return [cell.train_ratio for cell in cells if cell.mode == mode]


def _saved(cells: Cells, a: Mode, b: Mode, score: str, margin: float) -> LabelsSaved:
    goal = Cell(b, max(_ratios(cells, b)))
    match = None
    for ratio in sorted(_ratios(cells, a), reverse=True):
        if ratio > goal.train_ratio or Cell(a, ratio) == goal:
            continue
        tried = difference(cells, Cell(a, ratio), goal, score)
        if not (tried and tried.not_worse_by(margin)):
            break
        match = tried
    return LabelsSaved(a, b, goal.train_ratio, margin, match)


def _crossover(cells: Cells, a: Mode, b: Mode, score: str) -> Crossover | None:
    ratios = [ratio for ratio in _ratios(cells, a) if ratio in _ratios(cells, b)]
    if len(ratios) < 2:
        return None
    gains = _gains(cells, a, b, ratios, score)
    if not gains.size:
        return None
    leads = _mean(gains, np.ones((1, len(gains))))[0]
    if (leads < 0).any() and leads[leads != 0][-1] < 0:
        a, b, gains, leads = b, a, -gains, -leads
    x = np.log(ratios)
    at = float(_last_change(leads[None], x)[0])
    ratio = math.exp(at) if math.isfinite(at) else None
    low, high = _interval(gains, x) if ratio and len(gains) > 1 else (None, None)
    return Crossover(b, a, score, _status(gains, x < at), ratio, low, high)


def _gains(cells: Cells, a: Mode, b: Mode, ratios: list[float], score: str) -> np.ndarray:
    """How far `a` is ahead of `b`, [S seeds, R ratios]; of the seeds that all these cells have."""
    runs = {mode: [cells[Cell(mode, ratio)] for ratio in ratios] for mode in (a, b)}
    seeds = sorted(set.intersection(*(set(run) for mode in runs for run in runs[mode])))
    ours, theirs = (
        np.array([[run[seed].scores[score] for run in runs[mode]] for seed in seeds])
        for mode in (a, b)
    )
    gains: np.ndarray = ours - theirs
    return gains if SCORES[score].better == "higher" else -gains


def _mean(gains: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean over seeds, each counted as often as `counts` [B, S] says; [B, R]."""
    mean: np.ndarray = counts @ gains / len(gains)
    # Accuracies are shares of few images, so ties are common; float noise would break them.
    return mean.round(12)


def _last_change(leads: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Where each row turns from negative for the last time, by straight lines between points.

    Args:
        leads: [B, R], of the mode that leads at the end.
        x: log of the ratios, rising, [R].

    Returns:
        [B]; -inf for a row that is never negative, inf for one that is so at the end.
    """
    behind = leads < 0
    last = len(x) - 1 - behind[:, ::-1].argmax(axis=1)
    after = np.minimum(last + 1, len(x) - 1)
    rows = np.arange(len(leads))
    y, y_after = leads[rows, last], leads[rows, after]
    share = np.divide(-y, y_after - y, out=np.zeros(len(leads)), where=y_after != y)
    at: np.ndarray = x[last] + share * (x[after] - x[last])
    at[behind[:, -1]] = np.inf
    at[~behind.any(axis=1)] = -np.inf
    return at


def _interval(gains: np.ndarray, x: np.ndarray) -> tuple[float | None, float | None]:
    """The crossover's bootstrap interval, as ratios; None for an end outside those studied."""
    n = len(gains)
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    at = _last_change(_mean(gains, drawn), x)
    tail = (1 - CONFIDENCE) / 2
    # No interpolation between draws: some of them are infinite.
    ends = np.quantile(at, [tail, 1 - tail], method="inverted_cdf")
    low, high = (math.exp(end) if math.isfinite(end) else None for end in ends)
    return low, high


def _status(gains: np.ndarray, below: np.ndarray) -> Literal["seen", "none seen", "not resolved"]:
    signs = np.array([estimate(column).sign for column in gains.T.tolist()])
    ahead_after = bool((signs[~below] > 0).any())
    if not below.any():
        return "none seen" if ahead_after else "not resolved"
    return "seen" if ahead_after and (signs[below] < 0).any() else "not resolved"
