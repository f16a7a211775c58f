"""Cells of confirmed trials: the mean of every score with its 95 % interval over seeds.

An interval covers other seeds on the same test set: another training subset, other initial weights
and another order of batches. It does not cover other test images.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from statistics import fmean, stdev
from typing import Literal, NamedTuple

import pandas as pd
from scipy import stats

from study.analysis.image_scores import ImageScores
from study.search.cells import Cell as Cell
from tl_core.config import MODES, AuxWeight, Mode

CONFIDENCE = 0.95
"""Level of every interval here; not corrected for multiple comparisons."""


class Score(NamedTuple):
    """The direction and the range of a score."""

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
"""Every score of the confirming trials on the test set."""

Arm = Literal["cell", "control"]


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A chosen configuration at a cell."""

    mode: Mode
    train_ratio: float
    lr: float | None
    """None for a probe."""
    aux_weight: AuxWeight
    source: int
    """Number of the search trial that has this configuration."""
    borrowed_from: float | None
    """The train_ratio of that trial, if it belongs to another cell."""
    trials: int | None
    """Trials of its cell that the search has scored; None if there was no search."""

    @property
    def cell(self) -> Cell:
        """The cell that the configuration runs at."""
        return Cell(self.mode, self.train_ratio)


@dataclass(frozen=True, kw_only=True)
class Confirmed(Configuration):
    """One confirming trial: a configuration on one fresh seed, scored on the test set."""

    seed: int
    scores: dict[str, float]
    """`test_accuracy` and the others in `SCORES`."""
    trial: int
    """Number of the trial."""
    arm: Arm = "cell"
    """`control`: a cell's configuration with aux_weight 0, or with the task if the cell has 0."""
    images: ImageScores | None = field(default=None, compare=False, repr=False)
    """What it says of each test image; None if its outputs were not kept."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and its 95 % interval."""

    mean: float
    low: float | None
    """None with one seed, which gives no interval."""
    high: float | None
    n: int
    """Seeds."""

    @property
    def sign(self) -> Literal[-1, 0, 1]:
        """Sign of the whole interval; 0 if the interval contains zero or is missing."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return 0
        return 1 if self.low > 0 else -1


@dataclass(frozen=True, kw_only=True)
class CellSummary(Configuration):
    """One cell's configuration, and its scores over seeds."""

    seeds: tuple[int, ...]
    scores: dict[str, Estimate]


def estimate(
    values: Sequence[float], lowest: float = -math.inf, highest: float = math.inf
) -> Estimate:
    """Return the mean of independent values, one for each seed, and its t-interval.

    The interval is clipped to the range from `lowest` to `highest`, such as 0 to 1 for an accuracy.
    This removes only impossible values, so the coverage stays the same. Equal values give a
    zero-width interval.

    Raises `statistics.StatisticsError` if there are no values.
    """
    mean, n = fmean(values), len(values)
    if n == 1:
        return Estimate(mean, None, None, n)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * stdev(values) / math.sqrt(n)
    return Estimate(mean, max(mean - half, lowest), min(mean + half, highest), n)


def by_cell(confirmed: Iterable[Confirmed], arm: Arm = "cell") -> dict[Cell, dict[int, Confirmed]]:
    """Return the trials of an arm by cell and seed, in the order of `MODES`, ratios and seeds.

    Raises `ValueError` if a cell has a seed twice.
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
    """Return a summary of each cell, in the order of `by_cell`, without control arms."""
    return [_summary(list(trials.values())) for trials in by_cell(confirmed).values()]


def _summary(trials: list[Confirmed]) -> CellSummary:
    scores = {
        name: estimate([c.scores[name] for c in trials], score.lowest, score.highest)
        for name, score in SCORES.items()
    }
    configuration = {field.name: getattr(trials[0], field.name) for field in fields(Configuration)}
    return CellSummary(**configuration, seeds=tuple(c.seed for c in trials), scores=scores)


def confirm_table(confirmed: Iterable[Confirmed]) -> pd.DataFrame:
    """Return `confirm.csv`, one row for each cell.

    Columns: mode, train_ratio, lr, aux_weight, source, borrowed_from, trials (of the search), n
    (seeds), and for each score SCORE_mean, SCORE_low and SCORE_high.
    """
    configuration = [field.name for field in fields(Configuration)]
    rows = [
        [
            *(getattr(s, name) for name in configuration),
            len(s.seeds),
            *(x for e in s.scores.values() for x in (e.mean, e.low, e.high)),
        ]
        for s in summarize(confirmed)
    ]
    scores = [f"{name}_{part}" for name in SCORES for part in ("mean", "low", "high")]
    return pd.DataFrame(rows, columns=[*configuration, "n", *scores])
