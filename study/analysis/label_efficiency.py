"""Label efficiency: where one mode overtakes another, and how few labels match all of them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal

import numpy as np

from study.analysis.comparisons import Cells, Difference, difference
from study.analysis.estimates import SCORES, Cell, Confirmed, by_cell, estimate
from study.analysis.two_way import CONFIDENCE
from study.records.trial_record import TrialRecord
from tl_core.config import DIRECTIONS, Metric, Mode

MARGIN = 0.01
"""A match may be this much worse in accuracy: one image in a hundred."""
RESAMPLES = 10_000
"""Bootstrap draws of the seeds, for the interval of a crossover."""


@dataclass(frozen=True)
class Crossover:
    """The ratio from which `after` stays ahead of `before` as labels grow."""

    before: Mode
    """Ahead below the ratio; without a crossing, the mode that is behind at all ratios."""
    after: Mode
    """Ahead from the ratio upward."""
    score: str
    status: Literal["seen", "none seen", "not resolved"]
    """`seen`: intervals show `before` ahead at a ratio below and `after` ahead at a ratio above.
    `none seen`: `after` is ahead in the mean at all ratios, and by its interval at one or more.
    """
    ratio: float | None
    """Interpolated in log train_ratio; None if the mean differences never change sign."""
    low: float | None
    """95 % interval of the ratio; None where an end lies outside the studied ratios, or where
    there is no ratio or no second seed.
    """
    high: float | None


@dataclass(frozen=True)
class LabelsSaved:
    """The smallest ratio from which upward `a` matches `b` at `b`'s largest ratio."""

    a: Mode
    b: Mode
    ratio_b: float
    margin: float
    match: Difference | None
    """`a` at that ratio minus `b` at `ratio_b`; None if `a` is not shown to match."""

    @property
    def ratio(self) -> float | None:
        """The ratio of `a`; None without a match."""
        return self.match.a.train_ratio if self.match else None


def crossovers(confirmed: Iterable[Confirmed], score: str = "test_accuracy") -> list[Crossover]:
    """Return the crossover of each pair of modes that share seeds at two ratios or more.

    Two modes may change places several times. The crossover is the last change, where the mode
    that leads at the largest ratio takes the lead. Its interval is a percentile bootstrap over
    seeds (Efron and Tibshirani 1993, chapter 13). A seed is drawn with its results at all ratios,
    because they are paired. A draw in which that mode leads at all ratios counts as a crossover
    below them; a draw in which it is behind at the end counts as one above them. With the few
    seeds of a study the interval is slightly too narrow.
    """
    cells = by_cell(confirmed)
    pairs = combinations(_modes(cells), 2)
    return [c for a, b in pairs if (c := _crossover(cells, a, b, score))]


def labels_saved(
    confirmed: Iterable[Confirmed], score: str = "test_accuracy", margin: float = MARGIN
) -> list[LabelsSaved]:
    """Return the labels saved for each ordered pair of modes, including a mode with itself.

    "Not different" is not a match: wide intervals are never different. `a` matches if it is shown
    not to be worse by more than `margin`, in the score's unit (non-inferiority): the whole 95 %
    interval of the paired difference lies above -margin. Ratios are tried from the largest downward
    and stop at the first that fails, so trying several ratios makes a false match no more likely
    than trying one (a fixed-sequence test: Westfall and Krishen, Journal of Statistical Planning
    and Inference 99, 2001).
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
        if not tried or tried.p_worse_by(margin) > (1 - CONFIDENCE) / 2:
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
    """Lead of `a` over `b`, [S seeds, R ratios], for the seeds that all these cells have."""
    pairs = [(cells[Cell(a, ratio)], cells[Cell(b, ratio)]) for ratio in ratios]
    seeds = sorted(set.intersection(*(set(cell) for pair in pairs for cell in pair)))
    rows = [[x[s].scores[score] - y[s].scores[score] for x, y in pairs] for s in seeds]
    gains = np.array(rows)
    return gains if SCORES[score].better == "higher" else -gains


def _mean(gains: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean over seeds, weighted by `counts` [B, S]; [B, R]."""
    mean: np.ndarray = counts @ gains / len(gains)
    # Accuracies of few images often tie, and rounding errors would break the ties.
    return mean.round(12)


def _last_change(leads: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Where each row of `leads` [B, R] last stops being negative, interpolated in `x` [R].

    Returns [B]; -inf for a row that is never negative, inf for a row that ends negative.
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
    """Bootstrap interval of the crossover, as ratios; None for an end outside the studied range."""
    n = len(gains)
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    at = _last_change(_mean(gains, drawn), x)
    tail = (1 - CONFIDENCE) / 2
    # Some draws are infinite, so interpolation between draws is impossible.
    ends = np.quantile(at, [tail, 1 - tail], method="inverted_cdf")
    low, high = (math.exp(end) if math.isfinite(end) else None for end in ends)
    return low, high


def _status(gains: np.ndarray, below: np.ndarray) -> Literal["seen", "none seen", "not resolved"]:
    signs = np.array([estimate(column).sign for column in gains.T.tolist()])
    ahead_after = bool((signs[~below] > 0).any())
    if not below.any():
        return "none seen" if ahead_after else "not resolved"
    return "seen" if ahead_after and (signs[below] < 0).any() else "not resolved"


def pareto_front(records: Sequence[TrialRecord], metric: Metric) -> list[TrialRecord]:
    """Return the finished trials that no other trial equals with as few labels, by ratio."""
    sign = 1 if DIRECTIONS[metric] == "min" else -1
    costs = {r.trial: sign * (r.value(metric) or 0.0) for r in records}
    front: list[TrialRecord] = []
    finished = [r for r in records if r.status == "done" and r.history]
    for record in sorted(finished, key=lambda r: (r.config.train_ratio, costs[r.trial], r.trial)):
        if not front or costs[record.trial] < costs[front[-1].trial]:
            front.append(record)
    return front
