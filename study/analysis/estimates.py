"""Confirmed trials become cells: the mean of every score with its 95 % interval over seeds.

An interval tells what other seeds would give on the same test set: another draw of the training
subset, the initial weights and the order of batches. It does not tell what other test images
would give.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal, NamedTuple

import pandas as pd
from scipy import stats

from tl_core.config import MODES, Mode

CONFIDENCE = 0.95
"""Of every interval here; plain intervals, not corrected for how many are looked at."""


class Score(NamedTuple):
    """What is known of a score before any trial: which way is better, and how far it can go."""

    better: Literal["higher", "lower"]
    lowest: float
    highest: float


SCORES = {
    "test_accuracy": Score("higher", 0, 1),
    "test_log_loss": Score("lower", 0, math.inf),
    "test_auroc": Score("higher", 0, 1),
    "test_brightness_mae": Score("lower", 0, math.inf),
    "test_brightness_r2": Score("higher", -math.inf, 1),
    "test_loss": Score("lower", -math.inf, math.inf),
}
"""Every score that confirming trials read on the test set."""

_CONFIGURATION = ("mode", "train_ratio", "lr", "aux_weight", "source", "borrowed_from")

Arm = Literal["cell", "control"]


class Cell(NamedTuple):
    """A mode at a training ratio."""

    mode: Mode
    train_ratio: float


@dataclass(frozen=True)
class Confirmed:
    """One confirming trial: a chosen configuration on one fresh seed, scored on the test set."""

    mode: Mode
    train_ratio: float
    seed: int
    scores: dict[str, float]
    """`test_accuracy` and the others in `SCORES`."""
    trial: int
    """Its own number."""
    source: int
    """Number of the search trial whose configuration it is."""
    borrowed_from: float | None
    """The train_ratio of that trial, if it is not of this cell."""
    aux_weight: float | Literal["auto"]
    lr: float
    arm: Arm = "cell"
    """`control`: a cell's configuration with aux_weight 0; or with the task, if that has 0."""

    @property
    def cell(self) -> Cell:
        """Where it belongs."""
        return Cell(self.mode, self.train_ratio)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and its 95 % interval."""

    mean: float
    low: float | None
    """None with one seed, which has no interval."""
    high: float | None
    n: int
    """Seeds."""

    @property
    def sign(self) -> Literal[-1, 0, 1]:
        """The sign that the whole interval has; 0 if it holds zero, or there is none."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return 0
        return 1 if self.low > 0 else -1


@dataclass(frozen=True)
class CellSummary:
    """One cell's configuration, and what it scored over its seeds."""

    mode: Mode
    train_ratio: float
    lr: float
    aux_weight: float | Literal["auto"]
    source: int
    borrowed_from: float | None
    seeds: tuple[int, ...]
    scores: dict[str, Estimate]

    @property
    def cell(self) -> Cell:
        """Which it is."""
        return Cell(self.mode, self.train_ratio)


def estimate(
    values: Sequence[float], lowest: float = -math.inf, highest: float = math.inf
) -> Estimate:
    """Return the mean of independent values, one a seed, and its t-interval.

    The interval is cut to what the mean can be, such as 0 to 1 for an accuracy: this takes away
    only values that can't be true, so that it covers the mean exactly as often. Values that are
    all the same give an interval of no width.

    Args:
        values: at least one.
        lowest: the least that a value can be, in the values' own unit.
        highest: the most.

    Raises:
        statistics.StatisticsError: there are no values.
    """
    mean, n = fmean(values), len(values)
    if n == 1:
        return Estimate(mean, None, None, n)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * stdev(values) / math.sqrt(n)
    return Estimate(mean, max(mean - half, lowest), min(mean + half, highest), n)


def by_cell(confirmed: Iterable[Confirmed], arm: Arm = "cell") -> dict[Cell, dict[int, Confirmed]]:
    """Return the trials of an arm by cell and seed, in the order of `MODES`, ratios and seeds.

    Raises:
        ValueError: a cell has a seed twice.
    """
    cells: dict[Cell, dict[int, Confirmed]] = {}
    trials = [c for c in confirmed if c.arm == arm]
    for c in sorted(trials, key=lambda c: (MODES.index(c.mode), c.train_ratio, c.seed)):
        first = cells.setdefault(c.cell, {}).setdefault(c.seed, c)
        if first is not c:
            raise ValueError(
                f"a cell has each seed once: {c.mode} at {c.train_ratio:g} has seed {c.seed} in "
                f"trials {first.trial} and {c.trial}"
            )
    return cells


def summarize(confirmed: Iterable[Confirmed]) -> list[CellSummary]:
    """Return one summary a cell, by mode (in the order of `MODES`) and ratio; no control arms."""
    return [_summary(list(trials.values())) for trials in by_cell(confirmed).values()]


def confirm_table(confirmed: Iterable[Confirmed]) -> pd.DataFrame:
    """Return `confirm.csv`: a row a cell.

    Columns: mode, train_ratio, lr, aux_weight, source, borrowed_from, n (seeds), and for each
    score SCORE_mean, SCORE_low and SCORE_high.
    """
    rows = [_row(summary) for summary in summarize(confirmed)]
    scores = [f"{name}_{part}" for name in SCORES for part in ("mean", "low", "high")]
    return pd.DataFrame(rows, columns=[*_CONFIGURATION, "n", *scores])


def _summary(trials: list[Confirmed]) -> CellSummary:
    first = trials[0]
    return CellSummary(
        mode=first.mode,
        train_ratio=first.train_ratio,
        lr=first.lr,
        aux_weight=first.aux_weight,
        source=first.source,
        borrowed_from=first.borrowed_from,
        seeds=tuple(c.seed for c in trials),
        scores={
            name: estimate([c.scores[name] for c in trials], score.lowest, score.highest)
            for name, score in SCORES.items()
        },
    )


def _row(summary: CellSummary) -> dict[str, object]:
    row = {name: getattr(summary, name) for name in _CONFIGURATION} | {"n": len(summary.seeds)}
    for name, e in summary.scores.items():
        row |= {f"{name}_mean": e.mean, f"{name}_low": e.low, f"{name}_high": e.high}
    return row
