"""Cells of confirmed trials: the mean of every score with its 95 % intervals.

The interval that counts is about new photos: other seeds, that is another training subset, other
initial weights and another order of batches, and other test images. Studies of earlier versions did
not keep what each network says of each test image; theirs is about the same test images.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from study.analysis.images.image_scores import OF_ALL_IMAGES, ImageScores
from study.intervals.estimate import Estimate, estimate, on_new_photos
from study.intervals.grouped import by_groups, free_groups, grouped_with_pseudo, number_groups
from study.intervals.losses import mistake_pseudo
from study.intervals.two_way import (
    DIFFERENCE_PSEUDO,
    SHARE_PSEUDO,
    Floats,
    TInterval,
    two_way,
)
from study.search.cells import Cell
from tl_core.aux_task import AuxWeight
from tl_core.config import MODES, Mode

_DIGITS = 6
"""Of differences. Rounding errors are none: frozen heads do not depend on the auxiliary task."""


class Score(NamedTuple):
    """The direction and the range of a score."""

    better: Literal["higher", "lower"]
    lowest: float
    highest: float


SCORES = {
    "test_accuracy": Score("higher", 0, 1),
    "test_balanced_accuracy": Score("higher", 0, 1),
    "test_macro_f1": Score("higher", 0, 1),
    "test_log_loss": Score("lower", 0, math.inf),
    "test_log_loss_scaled": Score("lower", 0, math.inf),
    "test_calibration_mse": Score("lower", 0, 1),
    "test_calibration_mse_scaled": Score("lower", 0, 1),
    "test_auroc": Score("higher", 0, 1),
    "test_loss": Score("lower", -math.inf, math.inf),
}
"""The scores of the classification of the confirming trials on the test set, and the loss of both
tasks. Those with `scaled` are after temperature scaling on validation. The calibration MSE, the
mean squared gap of accuracy and confidence, is unbiased, so it may be below 0. Studies of earlier
versions lack some."""
_OF_TASKS = {
    "_mae": Score("lower", 0, math.inf),
    "_mae_baseline": Score("lower", 0, math.inf),
    "_r2": Score("higher", -math.inf, 1),
    "_accuracy": Score("higher", 0, 1),
    "_accuracy_baseline": Score("higher", 0, 1),
    "_skill": Score("higher", -math.inf, 1),
}
"""Those of an auxiliary task, by the ends of their names (`AuxTask.scores`). A baseline is the
score of a constant: the training photos' mean or most frequent class."""


def score_of(name: str) -> Score:
    """Return the direction and range of a score; raises `StopIteration` for an unknown one."""
    if name in SCORES:
        return SCORES[name]
    return next(score for end, score in _OF_TASKS.items() if name.endswith(end))


def score_names(trials: Iterable["Confirmed"]) -> list[str]:
    """Return the names of all scores, and of those of the auxiliary task that trials have."""
    found = dict.fromkeys(name for c in trials for name in c.scores if name not in SCORES)
    of_task = [name for end in _OF_TASKS for name in found if name.endswith(end)]
    *first, last = SCORES
    return [*first, *of_task, last]


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
    """`test_accuracy` and the others of `score_names`."""
    trial: int
    """Number of the trial."""
    arm: Arm = "cell"
    """`control`: a cell's configuration with aux_weight 0, or with the task if the cell has 0."""
    tuned: bool = False
    """Of a control: whether its configuration was chosen among several, on equal seeds."""
    images: ImageScores | None = field(default=None, compare=False, repr=False)
    """What it says of each test image; None if its outputs were not kept."""


@dataclass(frozen=True, kw_only=True)
class CellSummary(Configuration):
    """One cell's configuration, and its scores over seeds."""

    seeds: tuple[int, ...]
    scores: dict[str, Estimate]


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


def estimate_score(
    score: str, trials: Sequence[Confirmed], minus: Sequence[Confirmed] = ()
) -> Estimate:
    """Return the mean of a score over trials, one for each seed, with its intervals.

    With `minus`, which has a trial for the same seed at each place, it is the mean of the paired
    differences. `test_loss`, by which nothing is compared, has its interval on these test images.

    Raises `statistics.StatisticsError` if there are no trials.
    """
    _, lowest, highest = score_of(score)
    if minus:
        lowest, highest = lowest - highest, highest - lowest
    seeds = estimate(seed_values(score, trials, minus), lowest, highest)
    if not (t := _over_images(score, trials, minus)) or not (images := trials[0].images):
        one_group = any(c.images and c.images.of_one_group for c in (*trials, *minus))
        return replace(seeds, one_group=one_group)
    n = int(images.there(score).sum())
    groups, logit = images.new_groups(score), score == "test_auroc" and not minus
    return on_new_photos(seeds, t, n, lowest, highest, groups, logit=logit)


def seed_values(
    score: str, trials: Sequence[Confirmed], minus: Sequence[Confirmed] = ()
) -> list[float]:
    """Return a score of each seed, or its paired difference."""
    values = [c.scores[score] for c in trials]
    if not minus:
        return values
    others = [c.scores[score] for c in minus]
    return [round(x - y, _DIGITS) for x, y in zip(values, others, strict=True)]


def image_table(
    score: str, trials: Sequence[Confirmed], minus: Sequence[Confirmed] = ()
) -> tuple[Floats, float | None] | None:
    """Return a score of each test image, [S seeds, N images], or its paired difference.

    If images come in groups, it is a table of groups instead (`by_groups`), and their degrees of
    freedom are the second value. Shares of right answers, and differences of log losses, have their
    pseudo-images. Returns None if it is no mean over images, if all that have it are of one group,
    or if a trial has not kept its outputs.
    """
    kept = kept_images((*trials, *minus))
    if not all(score in images.values for images in kept) or not kept:
        return None
    values = np.array([images.values[score] for images in kept])
    table = values[: len(trials)]
    if minus:
        table = (table - values[len(trials) :]).round(_DIGITS)
    groups, there = kept[0].groups, ~np.isnan(table).any(axis=0)
    if not there.all():  # Some images lack the label of the auxiliary task.
        table, groups = table[:, there], None if groups is None else number_groups(groups[there])
        if groups is not None and not groups.any():
            return None
    pseudo: ArrayLike
    if score.endswith("_accuracy"):  # Balanced accuracy is no mean over images.
        pseudo = DIFFERENCE_PSEUDO if minus else SHARE_PSEUDO
    elif minus and score.startswith("test_log_loss"):
        pseudo = mistake_pseudo(values[: len(trials)], values[len(trials) :])
    else:
        return by_groups(table, groups), free_groups(groups)
    return grouped_with_pseudo(table, groups, pseudo), free_groups(groups, np.size(pseudo))


def kept_images(trials: Sequence[Confirmed]) -> list[ImageScores]:
    """Return what each trial says of the test images, if that tells of new photos.

    It does not, and nothing is returned, if a trial has not kept its outputs or if all images are
    of one group.
    """
    kept = [images for c in trials if (images := c.images) and not images.of_one_group]
    return kept if len(kept) == len(trials) else []


def _over_images(
    score: str, trials: Sequence[Confirmed], minus: Sequence[Confirmed]
) -> TInterval | None:
    if score in OF_ALL_IMAGES:
        kept = kept_images((*trials, *minus))
        return OF_ALL_IMAGES[score](kept[: len(trials)], kept[len(trials) :]) if kept else None
    if (found := image_table(score, trials, minus)) is None:
        return None
    table, free = found
    if np.ptp(table) == 0 and table.flat[0] != 0:
        # Images that all have the same value do not tell how much another would differ.
        return None
    return two_way(table, free=free)


def _summary(trials: list[Confirmed]) -> CellSummary:
    there = [name for name in score_names(trials) if all(name in c.scores for c in trials)]
    scores = {name: estimate_score(name, trials) for name in there}
    configuration = {field.name: getattr(trials[0], field.name) for field in fields(Configuration)}
    return CellSummary(**configuration, seeds=tuple(c.seed for c in trials), scores=scores)
