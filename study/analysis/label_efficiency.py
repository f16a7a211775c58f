"""Label efficiency: where one mode overtakes another, and how few labels match all of them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal

import numpy as np

from study.analysis.comparisons import Cells, Difference, difference, mode_differences
from study.analysis.crossing import last_crossing
from study.analysis.estimates import Confirmed, by_cell, kept_images, seed_values
from study.analysis.images.joint_scores import joint_scores
from study.intervals.two_way import CONFIDENCE, DIFFERENCE_PSEUDO, MeanSquares, mean_squares
from study.records.trial_record import TrialRecord
from study.search.cells import Cell
from tl_core.config import Metric, Mode

MARGIN = 0.01
"""A match may be this much worse, such as one image in a hundred."""


@dataclass(frozen=True)
class Crossover:
    """The ratio from which `after` stays ahead of `before` as labels grow."""

    before: Mode
    """Ahead below the ratio; without one, the other mode."""
    after: Mode
    """Ahead from the ratio upward; without one, ahead where there are most labels."""
    status: Literal["seen", "none seen", "not resolved"]
    """`seen`: both ends of the interval lie between the studied ratios, and by verdicts `before` is
    ahead at one below it, `after` at one above it. `none seen`: there is no ratio, and `after` is
    ahead by a verdict at one of the studied ones or more, `before` at none. The verdicts are those
    of `mode_differences`."""
    ratio: float | None
    """Where a line through the leads is zero, in log train_ratio; None if it is zero nowhere."""
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


def crossovers(
    confirmed: Iterable[Confirmed],
    score: str = "test_accuracy",
    verdicts: Sequence[Difference] | None = None,
) -> list[Crossover]:
    """Return the crossover of each two modes that share seeds at two ratios or more.

    Two modes may change places several times. The crossover is the last change, where the mode
    that leads at the largest ratio takes the lead; see `study.analysis.crossing`. Its interval is
    on new photos if the trials kept their outputs, else on these test images. There is none if
    `joint_scores` has none. `score` is a share: accuracy, balanced accuracy, macro F1 or AUROC.
    `verdicts` are its `mode_differences`, which are computed if they are not given.
    """
    trials = list(confirmed)
    verdicts = mode_differences(trials, score) if verdicts is None else verdicts
    cells = by_cell(trials)
    pairs = combinations(_modes(cells), 2)
    return [c for a, b in pairs if (c := _crossover(cells, verdicts, a, b, score))]


def labels_saved(
    confirmed: Iterable[Confirmed], score: str = "test_accuracy", margin: float | None = None
) -> list[LabelsSaved]:
    """Return the labels saved for each ordered pair of modes, including a mode with itself.

    "Not different" is not a match: wide intervals are never different. `a` matches if it is shown
    not to be worse in a score, which is a share, by `margin` (non-inferiority), in the paired
    difference on new photos. Ratios are tried from the largest downward and stop at the first that
    fails, so trying several ratios makes a false match no more likely than trying one (a
    fixed-sequence test: Westfall and Krishen, Journal of Statistical Planning and Inference 99,
    2001). The modes that are compared with one goal share the level of 2.5 %, and one that has
    matched at all its ratios leaves its part to the others, as in Holm's procedure (Bretz et al.,
    Statistics in Medicine 28, 2009). So the chance of a false match with a goal is at most 2.5 %.

    `margin` is `least_margin` by default.
    """
    trials = list(confirmed)
    margin = least_margin(trials, score) if margin is None else margin
    cells = by_cell(trials)
    modes = _modes(cells)
    saved = {(s.a, s.b): s for b in modes for s in _saved(cells, modes, b, score, margin)}
    return [saved[a, b] for a, b in product(modes, modes)]


def least_margin(confirmed: Iterable[Confirmed], score: str = "test_accuracy") -> float:
    """Return `MARGIN`, or the next whole hundredth that is one test image or more.

    Where classes count alike, it is an image of the smallest class. AUROC moves in steps of pairs
    of images, which are smaller.
    """
    labels = next((c.images.labels for c in confirmed if c.images), None)
    if labels is None or score == "test_auroc":
        return MARGIN
    counts = np.bincount(labels)
    n = len(labels) if score == "test_accuracy" else len(counts) * int(counts.min())
    return max(MARGIN, math.ceil(100 / n) / 100)


def _modes(cells: Cells) -> list[Mode]:
    return list(dict.fromkeys(cell.mode for cell in cells))


def _ratios(cells: Cells, mode: Mode) -> list[float]:
    return [cell.train_ratio for cell in cells if cell.mode == mode]


def _saved(
    cells: Cells, modes: Sequence[Mode], b: Mode, score: str, margin: float
) -> list[LabelsSaved]:
    """Every mode compared with `b` at its largest ratio."""
    goal = Cell(b, max(_ratios(cells, b)))
    sequences = []
    for a in modes:
        there = [Cell(a, ratio) for ratio in sorted(_ratios(cells, a), reverse=True)]
        few = [cell for cell in there if cell.train_ratio <= goal.train_ratio and cell != goal]
        sequences.append([difference(cells, cell, goal, score) for cell in few])
    p_values = [[d.p_worse_by(margin) if d else 1.0 for d in sequence] for sequence in sequences]
    counts = _rejected(p_values, (1 - CONFIDENCE) / 2)
    return [
        LabelsSaved(a, b, goal.train_ratio, margin, sequence[count - 1] if count else None)
        for a, sequence, count in zip(modes, sequences, counts, strict=True)
    ]


def _rejected(sequences: Sequence[Sequence[float]], level: float) -> list[int]:
    """Return how many p-values of each sequence are rejected, one after the other."""
    counts = [0] * len(sequences)
    advanced = True
    while advanced:
        advanced = False
        left = [i for i, sequence in enumerate(sequences) if counts[i] < len(sequence)]
        for i in left:
            if sequences[i][counts[i]] <= level / len(left):
                counts[i] += 1
                advanced = True
    return counts


def _crossover(
    cells: Cells, verdicts: Iterable[Difference], a: Mode, b: Mode, score: str
) -> Crossover | None:
    ratios = [ratio for ratio in _ratios(cells, a) if ratio in _ratios(cells, b)]
    leads = _leads(cells, a, b, ratios, score) if len(ratios) > 1 else None
    if leads is None:
        return None
    found = last_crossing(leads, np.log(ratios))
    if not found.rises:
        a, b = b, a
    at, low, high = (None if x is None else math.exp(x) for x in found[:3])
    here = [d if d.a.mode == a else -d for d in verdicts if {d.a.mode, d.b.mode} == {a, b}]
    shared = [d for d in here if d.a.train_ratio in ratios]
    ahead = [d.a.train_ratio for d in shared if d.verdict == "better"]
    behind = [d.a.train_ratio for d in shared if d.verdict == "worse"]
    if at is None:
        none = bool(ahead) and not behind
        return Crossover(b, a, "none seen" if none else "not resolved", None, None, None)
    # A line takes its slope from all ratios: where it is above zero, no mode need be ahead.
    first, last = min(behind, default=math.inf), max(ahead, default=-math.inf)
    seen = low is not None and high is not None and first <= low and high <= last
    return Crossover(b, a, "seen" if seen else "not resolved", at, low, high)


def _leads(
    cells: Cells, a: Mode, b: Mode, ratios: Sequence[float], score: str
) -> MeanSquares | None:
    """The lead of `a` over `b` at R ratios, for the seeds that all these cells have.

    None if there are none, or no `joint_scores`.
    """
    pairs = [(cells[Cell(a, ratio)], cells[Cell(b, ratio)]) for ratio in ratios]
    seeds = sorted(set.intersection(*(set(cell) for pair in pairs for cell in pair)))
    if not seeds:
        return None
    sides = zip(*pairs, strict=True)
    ours, theirs = ([[cell[s] for s in seeds] for cell in side] for side in sides)
    kept = [kept_images(cell) for cell in (*ours, *theirs)]
    if all(kept):
        return joint_scores(score, kept[: len(ours)], DIFFERENCE_PSEUDO, kept[len(ours) :])
    each = [seed_values(score, x, y) for x, y in zip(ours, theirs, strict=True)]
    leads = np.array(each)[..., None]  # A value a seed, as of one image.
    if leads[0].size > 1:
        return mean_squares(leads)
    nothing = np.zeros((len(ratios), len(ratios)))
    return MeanSquares(leads.mean(axis=(1, 2)), nothing, nothing, nothing, 1, 1)


def pareto_front(records: Sequence[TrialRecord], metric: Metric) -> list[TrialRecord]:
    """Return the finished trials that no other trial equals with as few labels, by ratio."""
    front: list[TrialRecord] = []
    finished = [r for r in records if r.status == "done" and r.history]
    for record in sorted(finished, key=lambda r: (r.config.train_ratio, r.cost(metric), r.trial)):
        if not front or record.cost(metric) < front[-1].cost(metric):
            front.append(record)
    return front
