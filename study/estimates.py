"""Confirmed trials become cells: the mean of every score with its 95 % interval over seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import pandas as pd

from tl_core.config import Mode

CONFIDENCE = 0.95
"""Of every interval here; plain intervals, not corrected for how many are looked at."""


class Score(NamedTuple):
    """What is known of a score before any trial: which way is better, and how far it can go."""

    better: Literal["higher", "lower"]
    lowest: float
    highest: float


SCORES: dict[str, Score]
"""Every score that confirming trials read on the test set."""


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
    arm: Literal["cell", "control"] = "cell"
    """`control`: the winner's configuration with aux_weight 0."""

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


def estimate(values: Sequence[float], score: str | None = None) -> Estimate:
    """Return the mean of independent values and its t-interval."""
    raise NotImplementedError


def summarize(confirmed: Iterable[Confirmed]) -> list[CellSummary]:
    """Return one summary a cell, by mode (in the order of `MODES`) and ratio; no control arms."""
    raise NotImplementedError


def confirm_table(
    confirmed: Iterable[Confirmed], n_labels: Mapping[float, int] | None = None
) -> pd.DataFrame:
    """Return `confirm.csv`: a row a cell.

    Columns: mode, train_ratio, n_labels (if given), lr, aux_weight, source, borrowed_from, n,
    and for each score SCORE_mean, SCORE_low, SCORE_high.
    """
    raise NotImplementedError
